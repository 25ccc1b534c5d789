;; NAME: keeps the records whose value contains the text that the step's configuration names.
(module
  (import "millstream:plugin/config@0.1.0" "get" (func $config (param i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) "contains")
  (data (i32.const 128) "config `contains` is missing")
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

  ;; The result at 16: at 16 whether it is an error. If it is none, at 20 whether to keep. If it is
  ;; one, at 20 which (1 is `failed`), at 24 the text, at 28 its length.
  (func (export "millstream:plugin/filter@0.1.0#keep")
    (param $has-key i32) (param $key i32) (param $key-length i32)
    (param $has-value i32) (param $value i32) (param $value-length i32)
    (param $headers i32) (param $header-count i32) (param $timestamp-ms i64)
    (param $has-partition i32) (param $partition i32) (result i32)
    (local $contains i32) (local $length i32) (local $last i32) (local $at i32)
    ;; The answer at 48: whether there is one, then text and length.
    (call $config (i32.const 64) (i32.const 8) (i32.const 48))
    (local.set $contains (i32.load (i32.const 52)))
    (local.set $length (i32.load (i32.const 56)))
    (if (i32.or (i32.eqz (i32.load8_u (i32.const 48))) (i32.eqz (local.get $length))) (then
      (i32.store (i32.const 16) (i32.const 1))
      (i32.store (i32.const 20) (i32.const 1))
      (i32.store (i32.const 24) (i32.const 128))
      (i32.store (i32.const 28) (i32.const 28))
      (return (i32.const 16))))
    (i32.store (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (i32.const 0))
    (if (i32.or
      (i32.eqz (local.get $has-value))
      (i32.lt_u (local.get $value-length) (local.get $length))) (then
      (return (i32.const 16))))
    (local.set $last
      (i32.add (local.get $value) (i32.sub (local.get $value-length) (local.get $length))))
    (local.set $value (i32.sub (local.get $value) (i32.const 1)))
    (loop $next
      (local.set $value (i32.add (local.get $value) (i32.const 1)))
      (if (i32.gt_u (local.get $value) (local.get $last)) (then (return (i32.const 16))))
      (local.set $at (i32.const 0))
      (loop $same
        (br_if $next
          (i32.ne
            (i32.load8_u (i32.add (local.get $value) (local.get $at)))
            (i32.load8_u (i32.add (local.get $contains) (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $same (i32.lt_u (local.get $at) (local.get $length)))))
    (i32.store (i32.const 20) (i32.const 1))
    (i32.const 16))

  (func (export "cabi_post_millstream:plugin/filter@0.1.0#keep") (param i32)
    (global.set $top (i32.const 1024)))
)
