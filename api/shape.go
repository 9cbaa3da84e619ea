package api

// Shape is a deployment shape, or a version of one. A server on one host has none.
type Shape struct {
	Name string `json:"name"`
}

// ShapeList answers GET deploymentShapes.
type ShapeList struct {
	Shapes []Shape `json:"deploymentShapes"`
	Page
}

// ShapeVersionList answers GET deploymentShapes/{id}/versions and the match.
type ShapeVersionList struct {
	Versions []Shape `json:"deploymentShapeVersions"`
	Page
}
