;; NAME: sends JSON objects to the output `json` and everything else to `text`.
(module
  (memory (export "memory") 2)
  (data (i32.const 64) "json")
  (data (i32.const 80) "text")
  ;; What is allocated lies one behind the other from here on, and is given up after each call.
  (global $top (mut i32) (i32.const 1024))

  (func (export "cabi_realloc")
    (param $old i32) (param $old-length i32) (param $align i32) (param $length i32) (result i32)
    (local $at i32)
    (local.set $at
      (i32.and
        (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $top (i32.add (local.get $at) (local.get $length)))
    (block $enough (loop $grow
      (br_if $enough
        (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
      (unreachable)))
    (memory.copy (local.get $at) (local.get $old) (local.get $old-length))
    (local.get $at))

  ;; The result at 16: no error, and a list of one name, whose place and length are at 32.
  (func (export "millstream:plugin/router@0.1.0#route")
    (param $has-key i32) (param $key i32) (param $key-length i32)
    (param $has-value i32) (param $value i32) (param $value-length i32)
    (param $headers i32) (param $header-count i32) (param $timestamp-ms i64)
    (param $has-partition i32) (param $partition i32) (result i32)
    (local $output i32)
    (local.set $output (i32.const 80))
    (if (i32.and (local.get $has-value) (i32.ne (local.get $value-length) (i32.const 0))) (then
      (if (i32.eq (i32.load8_u (local.get $value)) (i32.const 123)) (then
        (local.set $output (i32.const 64))))))
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (i32.const 32))
    (i32.store (i32.const 24) (i32.const 1))
    (i32.store (i32.const 32) (local.get $output))
    (i32.store (i32.const 36) (i32.const 4))
    (i32.const 16))

  (func (export "cabi_post_millstream:plugin/router@0.1.0#route") (param i32)
    (global.set $top (i32.const 1024)))
)
