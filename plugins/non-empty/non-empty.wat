;; A filter that drops records without a value, and those whose value is nothing but white space.
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

  ;; The result at 16: no error, and at 20 whether to keep.
  (func (export "millstream:plugin/filter@0.1.0#keep")
    (param $has-key i32) (param $key i32) (param $key-length i32)
    (param $has-value i32) (param $value i32) (param $value-length i32)
    (param $headers i32) (param $header-count i32) (param $timestamp-ms i64)
    (param $has-partition i32) (param $partition i32) (result i32)
    (local $at i32) (local $end i32)
    (i64.store (i32.const 16) (i64.const 0))
    (if (i32.eqz (local.get $has-value)) (then (return (i32.const 16))))
    (local.set $at (local.get $value))
    (local.set $end (i32.add (local.get $value) (local.get $value-length)))
    (block $blank (loop $next
      (br_if $blank (i32.eq (local.get $at) (local.get $end)))
      (if (call $is-space (i32.load8_u (local.get $at))) (then
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
      (i32.store (i32.const 20) (i32.const 1))))
    (i32.const 16))

  ;; Space, and from tab (9) to carriage return (13).
  (func $is-space (param $byte i32) (result i32)
    (i32.or
      (i32.eq (local.get $byte) (i32.const 32))
      (i32.lt_u (i32.sub (local.get $byte) (i32.const 9)) (i32.const 5))))

  (func (export "cabi_post_millstream:plugin/filter@0.1.0#keep") (param i32)
    (global.set $top (i32.const 1024)))
)
