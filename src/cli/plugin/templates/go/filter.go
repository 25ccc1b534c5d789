// NAME keeps the records whose value contains the text that the step's configuration names.
package main

import (
	"bytes"
	"errors"

	millstream "NAME/gen"
)

func keep(message *millstream.Message) (bool, error) {
	contains, _ := millstream.Config("contains")
	if contains == "" {
		return false, errors.New("config `contains` is missing")
	}
	return bytes.Contains(message.Value, []byte(contains)), nil
}

func init() { millstream.Filter(keep) }

func main() {}
