package millstream

import "unsafe"

var keep func(*Message) (bool, error)

// Filter says what the plugin is: whether a record goes on.
func Filter(function func(message *Message) (bool, error)) { keep = function }

//go:wasmexport millstream:plugin/filter@0.1.0#keep
func call(
	hasKey, key, keyLength, hasValue, value, valueLength, headers, headerCount uint32,
	timestampMs int64, hasPartition, partition uint32,
) unsafe.Pointer {
	passes, err := keep(lift(hasKey, key, keyLength, hasValue, value, valueLength, headers,
		headerCount, timestampMs, hasPartition, partition))
	if passes {
		return answer(span{}, 1, err)
	}
	return answer(span{}, 0, err)
}

//go:wasmexport cabi_post_millstream:plugin/filter@0.1.0#keep
func called(unsafe.Pointer) { done() }
