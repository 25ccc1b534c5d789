;; NAME: makes the value's letters capitals.
(module
  (memory (export "memory") 2)
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

  ;; The result at 16: no error, and a list of one message, which is at 32: key, value, headers,
  ;; timestamp and partition.
  (func (export "millstream:plugin/transformer@0.1.0#transform")
    (param $has-key i32) (param $key i32) (param $key-length i32)
    (param $has-value i32) (param $value i32) (param $value-length i32)
    (param $headers i32) (param $header-count i32) (param $timestamp-ms i64)
    (param $has-partition i32) (param $partition i32) (result i32)
    (local $at i32) (local $end i32) (local $letter i32)
    (if (local.get $has-value) (then
      (local.set $at (local.get $value))
      (local.set $end (i32.add (local.get $value) (local.get $value-length)))
      (block $done (loop $next
        (br_if $done (i32.eq (local.get $at) (local.get $end)))
        (local.set $letter (i32.load8_u (local.get $at)))
        (if (i32.lt_u (i32.sub (local.get $letter) (i32.const 97)) (i32.const 26)) (then
          (i32.store8 (local.get $at) (i32.sub (local.get $letter) (i32.const 32)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))))
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (i32.const 32))
    (i32.store (i32.const 24) (i32.const 1))
    (i32.store (i32.const 32) (local.get $has-key))
    (i32.store (i32.const 36) (local.get $key))
    (i32.store (i32.const 40) (local.get $key-length))
    (i32.store (i32.const 44) (local.get $has-value))
    (i32.store (i32.const 48) (local.get $value))
    (i32.store (i32.const 52) (local.get $value-length))
    (i32.store (i32.const 56) (local.get $headers))
    (i32.store (i32.const 60) (local.get $header-count))
    (i64.store (i32.const 64) (local.get $timestamp-ms))
    (i32.store (i32.const 72) (local.get $has-partition))
    (i32.store (i32.const 76) (local.get $partition))
    (i32.const 16))

  (func (export "cabi_post_millstream:plugin/transformer@0.1.0#transform") (param i32)
    (global.set $top (i32.const 1024)))
)
