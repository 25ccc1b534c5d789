package millstream

import "unsafe"

var transform func(*Message) ([]*Message, error)

// Transform says what the plugin is: the messages that take a record's place.
func Transform(function func(message *Message) ([]*Message, error)) { transform = function }

//go:wasmexport millstream:plugin/transformer@0.1.0#transform
func call(
	hasKey, key, keyLength, hasValue, value, valueLength, headers, headerCount uint32,
	timestampMs int64, hasPartition, partition uint32,
) unsafe.Pointer {
	made, err := transform(lift(hasKey, key, keyLength, hasValue, value, valueLength, headers,
		headerCount, timestampMs, hasPartition, partition))
	lowered := make([]abiMessage, len(made))
	for i, message := range made {
		lowered[i] = lowerMessage(message)
	}
	return answer(lowerList(lowered), 0, err)
}

//go:wasmexport cabi_post_millstream:plugin/transformer@0.1.0#transform
func called(unsafe.Pointer) { done() }
