package api

// Secret is a named value of an account. The value goes in and never comes out.
type Secret struct {
	Name    string `json:"name"`
	KeyName string `json:"keyName"`
	Value   string `json:"value,omitempty"` // input only
}

// SecretList answers GET secrets.
type SecretList struct {
	Secrets []Secret `json:"secrets"`
	Page
}
