// NAME sends JSON objects to the output json and everything else to text.
package main

import (
	"bytes"

	millstream "NAME/gen"
)

func route(message *millstream.Message) ([]string, error) {
	if bytes.HasPrefix(message.Value, []byte("{")) {
		return []string{"json"}, nil
	}
	return []string{"text"}, nil
}

func init() { millstream.Route(route) }

func main() {}
