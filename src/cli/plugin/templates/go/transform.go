// NAME makes the value's letters capitals.
package main

import (
	millstream "NAME/gen"
)

func transform(message *millstream.Message) ([]*millstream.Message, error) {
	for i, letter := range message.Value {
		if 'a' <= letter && letter <= 'z' {
			message.Value[i] = letter - 'a' + 'A'
		}
	}
	return []*millstream.Message{message}, nil
}

func init() { millstream.Transform(transform) }

func main() {}
