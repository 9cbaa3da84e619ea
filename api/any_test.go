package api

import "testing"

// A secret's keys are the store's own: they are handed on as they stand.
func TestUnmarshalKeepsFreeFormMaps(t *testing.T) {
	var c Connection
	if err := Unmarshal([]byte(`{"url":"s3://b/","secret":{"access_key_id":"a","nested":{"x_y":[1]}}}`), &c); err != nil {
		t.Fatal(err)
	}
	if c.Secret["access_key_id"] != "a" || c.Secret["nested"].(map[string]any)["x_y"] == nil {
		t.Errorf("secret is %v", c.Secret)
	}
}
