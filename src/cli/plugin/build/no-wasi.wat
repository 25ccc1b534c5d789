;; A WASI (preview 1) that has nothing: for compilers whose modules call it without need, as Go's.
;; There are no files and no arguments (errno 8 is `badf`, 52 `nosys`), what is printed goes to the
;; broker's log, and time and random numbers are made up, the same in each instance.
(module
  (import "millstream:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
  (import "env" "memory" (memory 0))
  ;; Nanoseconds. Moves on with each look at it, so that loops which wait for it end.
  (global $now (mut i64) (i64.const 1000000000))
  (global $random (mut i64) (i64.const 0x9e3779b97f4a7c15))

  (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "environ_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_close") (param i32) (result i32) (i32.const 8))
  (func (export "fd_datasync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_renumber") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_sync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_tell") (param i32 i32) (result i32) (i32.const 8))
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32)
    (i32.const 8))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "proc_raise") (param i32) (result i32) (i32.const 52))
  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "sock_accept") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_shutdown") (param i32 i32) (result i32) (i32.const 8))

  ;; None of either, and no bytes of them.
  (func $no-sizes (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))
  (export "args_sizes_get" (func $no-sizes))
  (export "environ_sizes_get" (func $no-sizes))

  (func (export "proc_exit") (param i32) (unreachable))
  (func (export "adapter_monotonic_clock_set_paused") (param i32))

  (func (export "clock_res_get") (param i32) (param $result i32) (result i32)
    (i64.store (local.get $result) (i64.const 1000))
    (i32.const 0))
  (func (export "clock_time_get") (param i32 i64) (param $result i32) (result i32)
    (global.set $now (i64.add (global.get $now) (i64.const 1000)))
    (i64.store (local.get $result) (global.get $now))
    (i32.const 0))

  ;; Xorshift.
  (func (export "random_get") (param $at i32) (param $length i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (global.set $random
        (i64.xor (global.get $random) (i64.shl (global.get $random) (i64.const 13))))
      (global.set $random
        (i64.xor (global.get $random) (i64.shr_u (global.get $random) (i64.const 7))))
      (global.set $random
        (i64.xor (global.get $random) (i64.shl (global.get $random) (i64.const 17))))
      (i64.store8 (local.get $at) (i64.shr_u (global.get $random) (i64.const 56)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
    (i32.const 0))

  ;; Everything that is waited for has come: a time by moving the clock on. A subscription has 48
  ;; bytes: user data, kind at 8 (0 is a clock), time at 24, flags at 40 (1: not from now on). An
  ;; event has 32: user data, errno at 8, kind at 10.
  (func (export "poll_oneoff")
    (param $in i32) (param $out i32) (param $count i32) (param $result i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $in) (i32.mul (local.get $count) (i32.const 48))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $in) (local.get $end)))
      (memory.fill (local.get $out) (i32.const 0) (i32.const 32))
      (i64.store (local.get $out) (i64.load (local.get $in)))
      (i32.store8 offset=10 (local.get $out) (i32.load8_u offset=8 (local.get $in)))
      (if (i32.eqz (i32.load8_u offset=8 (local.get $in))) (then
        (if (i32.eqz (i32.and (i32.load16_u offset=40 (local.get $in)) (i32.const 1))) (then
          (global.set $now (i64.add (global.get $now) (i64.load offset=24 (local.get $in))))))
        (if (i64.gt_u (i64.load offset=24 (local.get $in)) (global.get $now)) (then
          (global.set $now (i64.load offset=24 (local.get $in)))))))
      (local.set $in (i32.add (local.get $in) (i32.const 48)))
      (local.set $out (i32.add (local.get $out) (i32.const 32)))
      (br $next)))
    (i32.store (local.get $result) (local.get $count))
    (i32.const 0))

  ;; A line in the log for each piece that is more than the end of one: level 1, info, for the
  ;; standard output, 2, a warning, for the rest.
  (func (export "fd_write")
    (param $file i32) (param $pieces i32) (param $count i32) (param $result i32) (result i32)
    (local $end i32) (local $length i32) (local $sum i32)
    (local.set $end (i32.add (local.get $pieces) (i32.mul (local.get $count) (i32.const 8))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $pieces) (local.get $end)))
      (local.set $length (i32.load offset=4 (local.get $pieces)))
      (local.set $sum (i32.add (local.get $sum) (local.get $length)))
      (if (i32.gt_u (local.get $length) (i32.const 1)) (then
        (call $log
          (select (i32.const 1) (i32.const 2) (i32.eq (local.get $file) (i32.const 1)))
          (i32.load (local.get $pieces))
          (local.get $length))))
      (local.set $pieces (i32.add (local.get $pieces) (i32.const 8)))
      (br $next)))
    (i32.store (local.get $result) (local.get $sum))
    (i32.const 0))
)
