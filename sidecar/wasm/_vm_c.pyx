# cython: cdivision=True
# long-module: the native half is one unit; what calls, is called back and watches shares one C structure
"""The engine seam in Cython: what production runs. ``_vm_py.py`` is the specification, and says what a caller sees.

It calls the C library inside the wasmtime wheel through pointers that ``ctypes`` found; engine, store, module and
linker stay objects of the package. No C headers are shipped with the wheel, so the two structures used here are
declared here, and compared with the package's own view of them when this module loads: another layout is an
ImportError, and the Python twin serves.

The GIL. Giving it up for each crossing would cost more than the crossing. A guest therefore starts with it, as any C
function does, and gives it up at the first tick of the watchdog that finds it still running (``TICK``, Python's own
switch interval). The watchdog is a native thread which never needs the GIL, so it also stops a guest that has it.

Measured on 2026-11-24, CPython 3.11, wasmtime 50.0.1: call in with three arguments 0.08 µs, call out with three
arguments 0.06 µs and the host function's own time, read and write of 64 bytes 0.03 µs, ``return_bytes`` 0.10 µs, make
and close an instance 11 µs.
"""

from __future__ import annotations

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.pystate cimport PyThreadState
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

import ctypes
import sys

from wasmtime import _bindings as c
from wasmtime import _ffi as ffi

from sidecar.wasm.linking import (
    EXTERN_FUNC,
    MAX_DEPTH,
    MAX_PARAMS,
    NO_FINALIZER,
    address,
    functions_of,
    has_memory,
    instance_export,
    link,
    new_store,
    plain,
)
from sidecar.wasm.memory import GuestMemory, making
from sidecar.wasm.module import ModuleError, engine
from sidecar.wasm.trap import (
    DEADLINE_MESSAGE,
    HOST_MESSAGE,
    MemoryRangeError,
    ProcExit,
    Trap,
    TrapKind,
    take_error,
    take_trap,
)

cdef extern from *:
    """
    typedef union { int64_t i64; float f32; double f64; uint8_t v128[16]; } sidecar_value;
    typedef struct { uint64_t store; void *inner; } sidecar_func;
    typedef struct { uint8_t *base; size_t size, limit, reserved; uint8_t refused; } sidecar_memory;
    """
    ctypedef union Value "sidecar_value":
        int64_t i64
        float f32
        double f64

    ctypedef struct Func "sidecar_func":
        pass

    ctypedef struct Memory "sidecar_memory":
        uint8_t* base
        size_t size
        uint8_t refused

cdef extern from "Python.h":
    const size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    PyObject* PyObject_Vectorcall(PyObject* call, PyObject** args, size_t count, PyObject* names)
    PyObject* PyLong_FromUnsignedLongLong(unsigned long long value)
    PyObject* PyFloat_FromDouble(double value)
    unsigned long long PyLong_AsUnsignedLongLongMask(PyObject* value)
    double PyFloat_AsDouble(PyObject* value)
    PyObject* PyErr_Occurred()
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1
    bytes PyBytes_FromStringAndSize(const char* data, Py_ssize_t size)
    char* PyBytes_AS_STRING(object data) nogil
    Py_ssize_t PyBytes_GET_SIZE(object data) nogil
    void Py_DECREF(PyObject* item)
    PyThreadState* PyEval_SaveThread() nogil
    void PyEval_RestoreThread(PyThreadState* state) nogil
    unsigned long PyThread_get_thread_ident() nogil

cdef extern from "<time.h>" nogil:
    const int CLOCK_MONOTONIC
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* result)

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    ctypedef struct pthread_attr_t:
        pass
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    ctypedef struct pthread_condattr_t:
        pass
    int pthread_create(pthread_t* thread, const pthread_attr_t* how, void* (*run)(void*) noexcept nogil, void* data)
    int pthread_detach(pthread_t thread)
    int pthread_mutex_init(pthread_mutex_t* mutex, const void* how)
    int pthread_mutex_lock(pthread_mutex_t* mutex)
    int pthread_mutex_unlock(pthread_mutex_t* mutex)
    int pthread_condattr_init(pthread_condattr_t* how)
    int pthread_condattr_setclock(pthread_condattr_t* how, int clock)
    int pthread_cond_init(pthread_cond_t* cond, const pthread_condattr_t* how)
    int pthread_cond_signal(pthread_cond_t* cond)
    int pthread_cond_wait(pthread_cond_t* cond, pthread_mutex_t* mutex)
    int pthread_cond_timedwait(pthread_cond_t* cond, pthread_mutex_t* mutex, const timespec* until)

cdef extern from "<signal.h>" nogil:
    const int SIG_SETMASK
    ctypedef struct sigset_t:
        pass
    int sigfillset(sigset_t* signals)
    int pthread_sigmask(int how, const sigset_t* signals, sigset_t* before)

cdef extern from * nogil:
    const int __ATOMIC_SEQ_CST
    int64_t __atomic_load_n(int64_t* place, int order)
    void __atomic_store_n(int64_t* place, int64_t value, int order)
    int64_t __atomic_exchange_n(int64_t* place, int64_t value, int order)


# --- the library -----------------------------------------------------------------------------------------------------

ctypedef void* (*CallUnchecked)(void*, Func*, Value*, size_t, void**) noexcept nogil
ctypedef void* (*PreInstantiate)(void*, void*, void*, void**) noexcept nogil
ctypedef void* (*OnePointer)(void*) noexcept nogil
ctypedef void (*IncrementEpoch)(void*) noexcept nogil
ctypedef void* (*ErrorNew)(const char*) noexcept nogil
ctypedef void* (*TrapNew)(const char*, size_t) noexcept nogil

cdef CallUnchecked call_unchecked = <CallUnchecked><size_t>address(ffi.dll.wasmtime_func_call_unchecked)
cdef PreInstantiate pre_instantiate = <PreInstantiate><size_t>address(ffi.dll.wasmtime_instance_pre_instantiate)
cdef OnePointer caller_context = <OnePointer><size_t>address(ffi.dll.wasmtime_caller_context)
cdef OnePointer get_data = <OnePointer><size_t>address(ffi.dll.wasmtime_context_get_data)
cdef IncrementEpoch increment_epoch = <IncrementEpoch><size_t>address(ffi.dll.wasmtime_engine_increment_epoch)
cdef ErrorNew error_new = <ErrorNew><size_t>address(ffi.dll.wasmtime_error_new)
cdef TrapNew trap_new = <TrapNew><size_t>address(ffi.dll.wasmtime_trap_new)

if sizeof(Value) != ctypes.sizeof(c.wasmtime_val_raw_t) or sizeof(Func) != ctypes.sizeof(c.wasmtime_func_t):
    raise ImportError("the wasmtime library has other structures than this module was written for")
if sizeof(Memory) != ctypes.sizeof(GuestMemory):
    raise ImportError("this module was built for another sidecar.wasm.memory")

cdef enum:
    I32, I64, F32, F64, NOTHING
    MOST_PARAMS = 32

if MAX_PARAMS != MOST_PARAMS:
    raise ImportError("this module was built for another sidecar.wasm.linking")

CODES = {"i32": I32, "i64": I64, "f32": F32, "f64": F64}

cdef bytes _deadline_message = DEADLINE_MESSAGE
cdef bytes _host_message = HOST_MESSAGE
cdef const char* deadline_message = _deadline_message
cdef const char* host_message = _host_message
cdef size_t host_message_size = len(_host_message)
cdef int max_depth = MAX_DEPTH

cdef object _is_finalizing = sys.is_finalizing

cdef int INVALID_MEMORY_ACCESS = 6


# What is read and written without the GIL: by the engine's callbacks and by the watchdog.
cdef struct HostCall:
    PyObject* call  # borrowed from Vm._hosts
    size_t count
    int result
    uint8_t kinds[MOST_PARAMS]

cdef struct Guest:
    int64_t deadline  # nanoseconds of the monotonic clock, 0 while no call runs
    int64_t quantum  # the shortest timeout it was called with
    Guest* next
    Guest* previous
    PyThreadState* released  # set while the guest runs without the GIL
    PyObject* vm  # borrowed
    HostCall* hosts


# --- the watchdog ----------------------------------------------------------------------------------------------------

cdef int64_t TICK = 5_000_000  # nanoseconds
cdef int64_t RETRY = 1_000_000  # an expired call may be inside a host function, where epochs do not reach
cdef int IDLE_ROUNDS = 40

cdef pthread_mutex_t lock
cdef pthread_cond_t wake
cdef Guest* guests = NULL  # under lock, as is `started`
cdef bint started = False
cdef int64_t quantum = TICK
cdef int64_t active = 0
cdef int64_t parked = 1
cdef void* the_engine = NULL


cdef inline int64_t now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <int64_t>time.tv_sec * 1_000_000_000 + time.tv_nsec


cdef int64_t patrol(bint* running) noexcept nogil:
    """Move the epoch when a call runs; how long to sleep until the next one may be over its time."""
    cdef int64_t pause = quantum
    cdef int64_t time = now()
    cdef int64_t deadline
    cdef Guest* guest = guests
    running[0] = False
    while guest != NULL:
        deadline = __atomic_load_n(&guest.deadline, __ATOMIC_SEQ_CST)
        if deadline != 0:
            running[0] = True
            if deadline <= time:
                pause = RETRY
            elif deadline - time < pause:
                pause = deadline - time
        guest = guest.next
    if running[0]:
        increment_epoch(the_engine)
    return pause


cdef void* watch(void* nothing) noexcept nogil:
    """The thread: wakes every quantum while calls are made, and parks when none was made for a while."""
    cdef int idle = 0
    cdef bint running
    cdef int64_t until
    cdef timespec time
    pthread_mutex_lock(&lock)
    while True:
        until = now() + patrol(&running)
        if __atomic_exchange_n(&active, 0, __ATOMIC_SEQ_CST) or running:
            idle = 0
        else:
            idle += 1
        if idle > IDLE_ROUNDS:
            # In this order: a call that began before it could see "parked" is found by the second patrol.
            __atomic_store_n(&parked, 1, __ATOMIC_SEQ_CST)
            patrol(&running)
            while not running and __atomic_load_n(&parked, __ATOMIC_SEQ_CST):
                pthread_cond_wait(&wake, &lock)
            __atomic_store_n(&parked, 0, __ATOMIC_SEQ_CST)
            idle = 0
        else:
            time.tv_sec = until // 1_000_000_000
            time.tv_nsec = until % 1_000_000_000
            pthread_cond_timedwait(&wake, &lock, &time)
    return NULL


cdef int meet_engine() except -1:
    """Before the first call: the thread looks at the engine until the process is gone, so that it is never freed."""
    global the_engine
    if the_engine == NULL:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine()))
        the_engine = <void*><size_t>address(engine().ptr())
    return 0


cdef int rouse(int64_t timeout) noexcept nogil:
    """Let the thread know of a call, which may be the first one or shorter than any before; 0 when it runs."""
    global started, quantum
    cdef pthread_t thread
    cdef sigset_t every, before
    cdef int failure = 0
    pthread_mutex_lock(&lock)
    if timeout < quantum:
        quantum = timeout
    if not started:
        # Signals are for the threads that Python knows.
        sigfillset(&every)
        pthread_sigmask(SIG_SETMASK, &every, &before)
        failure = pthread_create(&thread, NULL, watch, NULL)
        pthread_sigmask(SIG_SETMASK, &before, NULL)
        if not failure:
            pthread_detach(thread)
            started = True
    if not failure:
        __atomic_store_n(&parked, 0, __ATOMIC_SEQ_CST)
    pthread_cond_signal(&wake)
    pthread_mutex_unlock(&lock)
    return failure


cdef inline int arm(Guest* guest, double timeout) except -1 nogil:
    """Start the clock of a call, in seconds."""
    global active
    cdef int64_t span = <int64_t>(min(timeout, 1e9) * 1e9) if timeout > 0 else 0
    __atomic_store_n(&guest.deadline, now() + span, __ATOMIC_SEQ_CST)
    active = 1
    span = max(span, RETRY)
    if span < guest.quantum:
        guest.quantum = span
    if __atomic_load_n(&parked, __ATOMIC_SEQ_CST) or span < quantum:
        if rouse(span):
            with gil:
                guest.deadline = 0
                raise MemoryError("no thread can be started to watch over plugins")
    return 0


cdef void enlist(Guest* guest) noexcept nogil:
    global guests
    pthread_mutex_lock(&lock)
    guest.quantum = TICK
    guest.previous = NULL
    guest.next = guests
    if guests != NULL:
        guests.previous = guest
    guests = guest
    pthread_mutex_unlock(&lock)


cdef void dismiss(Guest* guest) noexcept nogil:
    global guests, quantum
    pthread_mutex_lock(&lock)
    if guest.previous != NULL:
        guest.previous.next = guest.next
    else:
        guests = guest.next
    if guest.next != NULL:
        guest.next.previous = guest.previous
    if guest.quantum < TICK:
        quantum = TICK
        guest = guests
        while guest != NULL:
            quantum = min(quantum, guest.quantum)
            guest = guest.next
    pthread_mutex_unlock(&lock)


# --- what the engine calls -------------------------------------------------------------------------------------------

cdef void* epoch_moved(void* context, void* data, uint64_t* delta, uint8_t* kind) noexcept nogil:
    """The epoch moved under a running guest: go on for one more (NULL), or the error that stops it."""
    cdef Guest* guest = <Guest*>data
    if 0 < guest.deadline <= now():
        return error_new(deadline_message)
    if guest.released == NULL:
        guest.released = PyEval_SaveThread()
    delta[0] = 1
    return NULL


cdef inline void take_back(Guest* guest) noexcept nogil:
    """The GIL, if the guest that just returned or called ran without it."""
    cdef PyThreadState* state = guest.released
    if state != NULL:
        guest.released = NULL
        PyEval_RestoreThread(state)


cdef void* host_call(void* place, void* caller, Value* slots, size_t count) noexcept:
    """A host function, called by the guest: NULL, or a trap that unwinds it.

    Entered with or without the GIL: nothing of Python may be touched above ``take_back``.
    """
    cdef Guest* guest = <Guest*>get_data(caller_context(caller))
    take_back(guest)
    cdef HostCall* host = &guest.hosts[<size_t>place]
    cdef PyObject* args[MOST_PARAMS + 1]
    cdef PyObject* result = NULL
    cdef size_t given = 0
    cdef bint failed = True
    while given < host.count:
        args[given + 1] = load_value(&slots[given], host.kinds[given])
        if args[given + 1] == NULL:
            break
        given += 1
    else:
        result = PyObject_Vectorcall(host.call, &args[1], given | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
    while given:
        Py_DECREF(args[given])
        given -= 1
    if result != NULL:
        failed = store_result(&slots[0], host.result, result) != 0
        Py_DECREF(result)
    return host_failed(<Vm>guest.vm) if failed else NULL


cdef void* host_failed(Vm vm) noexcept:
    try:
        raise_current()
    except BaseException as error:  # firewall: unwinds the guest and is raised again at call()
        vm._pending = error
    return trap_new(host_message, host_message_size)


cdef int raise_current() except -1:
    """The error that a C function has set."""
    return -1


# --- values ----------------------------------------------------------------------------------------------------------

cdef inline PyObject* load_value(Value* slot, int kind) noexcept:
    """A new reference; NULL with an error set when there is no memory for it."""
    if kind == I32:
        return PyLong_FromUnsignedLongLong(<uint32_t>slot.i64)
    if kind == I64:
        return PyLong_FromUnsignedLongLong(<uint64_t>slot.i64)
    return PyFloat_FromDouble(slot.f32 if kind == F32 else slot.f64)


cdef inline int store_value(Value* slot, int kind, PyObject* value) noexcept:
    """0, or -1 with an error set: not a number."""
    cdef unsigned long long number
    cdef double real
    if kind == I32 or kind == I64:
        number = PyLong_AsUnsignedLongLongMask(value)
        if number == <unsigned long long>-1 and PyErr_Occurred() != NULL:
            return -1
        # the engine wants the upper half of an i32 zero
        slot.i64 = <int64_t>(<uint32_t>number if kind == I32 else number)
        return 0
    real = PyFloat_AsDouble(value)
    if real == -1.0 and PyErr_Occurred() != NULL:
        return -1
    if kind == F32:
        slot.f32 = <float>real
    else:
        slot.f64 = real
    return 0


cdef inline int store_result(Value* slot, int kind, PyObject* value) noexcept:
    """As ``store_value``; None is 0, and a function without a result may return anything."""
    if kind == NOTHING:
        return 0
    if value == <PyObject*>None:
        slot.i64 = 0
        return 0
    return store_value(slot, kind, value)


cdef inline int64_t offset(object value) except? -1:
    """A pointer or size as a number that can be compared; -1, which is never inside memory, when it is beyond."""
    cdef int overflow = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow)
    return -1 if overflow else number


# --- what Python sees ------------------------------------------------------------------------------------------------

@cython.final
cdef class GuestFunction:
    """An exported function. ``fn(a, b)`` and ``fn.call2(a, b)`` call it under its instance's ``timeout``."""

    cdef readonly Vm vm
    cdef readonly str name
    cdef readonly tuple params
    cdef readonly tuple results
    cdef Func _raw
    cdef size_t _count
    cdef int _result
    cdef uint8_t _kinds[MOST_PARAMS]

    def __init__(self, Vm vm, str name, tuple params, tuple results, raw):
        self.vm = vm
        self.name = name
        self.params = params
        self.results = results
        memcpy(&self._raw, <void*><size_t>ctypes.addressof(raw), sizeof(Func))
        self._count = len(params)
        self._result = CODES[results[0]] if results else NOTHING
        for index, kind in enumerate(params):
            self._kinds[index] = CODES[kind]

    def __call__(self, *args):
        return self._call(args)

    def call0(self):
        return self._call(())

    def call1(self, a):
        return self._call((a,))

    def call2(self, a, b):
        return self._call((a, b))

    def call3(self, a, b, c):
        return self._call((a, b, c))

    cdef object _call(self, tuple args):
        cdef Vm vm = self.vm
        if vm is None:
            raise Trap(TrapKind.OTHER, "the instance is closed")
        return vm._call(self, args, vm.timeout)


@cython.final
cdef class Vm:
    """One instance of a module with its own memory; used by one thread at a time.

    * ``timeout``: seconds for calls made through a :class:`GuestFunction` itself.
    * ``failed``: the guest was unwound half-way and is not called again. A ``ProcExit(0)`` alone does not set it,
      because a start function may end so; the layer above sets it when the exit came at any other time.
    """

    cdef object __weakref__
    cdef readonly object module
    cdef public double timeout
    cdef public bint failed
    cdef object _store
    cdef object _instance
    cdef object _pre
    cdef object _pending
    cdef object _guest_memory
    cdef list _hosts
    cdef dict _functions
    cdef bint _closing
    cdef bint _listed
    cdef bint _reachable
    cdef int _depth
    cdef unsigned long _thread
    cdef void* _context
    cdef Memory* _memory
    cdef Guest _guest

    def __init__(self, module, imports, *, memory_limit, table_limit=10000):
        """Make the store; nothing of the guest runs yet. Limits: bytes and table elements.

        :raises ModuleError: an import that ``imports`` lacks or that is not a function
        """
        self.module = module
        self.timeout = 0.05
        self._functions = {}
        self._adopt(functions_of(module), imports)
        self._pre = link(module, "c", _host_call_type(<size_t>&host_call))
        self._reachable = has_memory(module)
        self._guest_memory = GuestMemory(memory_limit)
        self._memory = <Memory*><size_t>ctypes.addressof(self._guest_memory)
        self._store = store = new_store(table_limit)
        self._context = <void*><size_t>address(store._context())
        self._guest.vm = <PyObject*>self
        c.wasmtime_context_set_data(store._context(), <size_t>&self._guest)
        c.wasmtime_store_epoch_deadline_callback(
            store.ptr(), _epoch_moved_type(<size_t>&epoch_moved), <size_t>&self._guest, NO_FINALIZER
        )
        meet_engine()
        enlist(&self._guest)
        self._listed = True

    cdef int _adopt(self, list items, imports) except -1:
        """Keep the host functions, at the places by which the guest knows them."""
        self._hosts = []
        for item in items:
            if (item.module, item.name) not in imports:
                raise ModuleError(f"unknown import {item.module}.{item.name}")
            self._hosts.append(imports[item.module, item.name])
        self._guest.hosts = <HostCall*>PyMem_Calloc(max(len(items), 1), sizeof(HostCall))
        if self._guest.hosts == NULL:
            raise MemoryError
        for place, item in enumerate(items):
            host = &self._guest.hosts[place]
            host.call = <PyObject*>self._hosts[place]
            host.count = len(item.params)
            host.result = CODES[item.results[0]] if item.results else NOTHING
            for index, kind in enumerate(item.params):
                host.kinds[index] = CODES[kind]
        return 0

    def instantiate(self, double timeout):
        """Make the instance and run its start section; host functions may use the memory while that runs.

        :raises Trap: the start section was stopped, or the module wants more memory than the limit from the start
        :raises BaseException: whatever a host function raised, unchanged
        """
        if self._store is None or self._instance is not None or self._depth:
            raise Trap(TrapKind.OTHER, "the instance is closed or was made before")
        cdef void* trap = NULL
        cdef void* pre = <void*><size_t>address(self._pre.ptr())
        instance = c.wasmtime_instance_t()
        cdef void* place = <void*><size_t>ctypes.addressof(instance)
        outer, making.memory = making.memory, self._guest_memory
        cdef void* error
        try:
            self._enter(timeout)
            error = pre_instantiate(pre, self._context, place, &trap)
            self._leave()
        finally:
            making.memory = outer
        if error != NULL or trap != NULL:
            self._unwound(<size_t>error, <size_t>trap)
        if self._store is not None:  # a host function may have asked to close
            self._instance = instance

    def function(self, str name):
        """The exported function of that name; None when there is none, or when more than numbers cross its edge."""
        if name not in self._functions:
            self._functions[name] = self._resolve(name)
        return self._functions[name]

    cdef GuestFunction _resolve(self, str name):
        if self._store is None or self._instance is None:
            raise Trap(TrapKind.OTHER, "the instance is closed or not made yet")
        handle = instance_export(self._store, self._instance, name, EXTERN_FUNC)
        for export in self.module.exports if handle is not None else ():
            if export.name == name and plain(export.params, export.results):
                return GuestFunction(self, name, export.params, export.results, handle.func)
        return None

    def call(self, GuestFunction fn not None, tuple args not None, double timeout):
        """Call the guest. An outermost call is cut after ``timeout`` seconds; a nested one lives by the outer one's.

        The result is unsigned; None when the function has none.

        :raises Trap: the guest was stopped, now or in an earlier call, or calls itself through the host too deeply
        :raises BaseException: whatever a host function raised, unchanged
        """
        return self._call(fn, args, timeout)

    cdef object _call(self, GuestFunction fn, tuple args, double timeout):
        cdef Value slots[MOST_PARAMS]
        cdef size_t count = fn._count
        cdef size_t index
        cdef void* trap = NULL
        cdef void* error
        if self.failed or fn.vm is not self:
            raise Trap(TrapKind.OTHER, "the instance has failed or is closed")
        if <size_t>len(args) != count:
            raise TypeError(f"{fn.name} takes {count} arguments, {len(args)} given")
        for index in range(count):
            if store_value(&slots[index], fn._kinds[index], <PyObject*>args[index]):
                raise_current()
        self._enter(timeout)
        error = call_unchecked(self._context, &fn._raw, slots, count if count else 1, &trap)
        self._leave()
        if error != NULL or trap != NULL:
            self._unwound(<size_t>error, <size_t>trap)
        if fn._result == NOTHING:
            return None
        if fn._result == I32:
            return <uint32_t>slots[0].i64
        if fn._result == I64:
            return <uint64_t>slots[0].i64
        return slots[0].f32 if fn._result == F32 else slots[0].f64

    cdef inline int _enter(self, double timeout) except -1:
        if not self._depth:
            self._thread = PyThread_get_thread_ident()
            self._memory.refused = False
            arm(&self._guest, timeout)
        elif self._thread != PyThread_get_thread_ident():
            raise Trap(TrapKind.OTHER, "the instance is in use by another thread")
        elif self._depth >= max_depth:
            raise Trap(TrapKind.STACK_OVERFLOW, "the guest calls itself through the host too deeply")
        self._depth += 1
        return 0

    cdef inline int _leave(self) except -1:
        take_back(&self._guest)  # before anything else
        self._depth -= 1
        if not self._depth:
            __atomic_store_n(&self._guest.deadline, 0, __ATOMIC_SEQ_CST)
            if self._closing:
                self.close()
        return 0

    cdef int _unwound(self, size_t error, size_t trap) except -1:
        """Raise what ended the guest: a host function's exception, or the engine's reason."""
        ended = take_error(error) if error else take_trap(trap)
        pending, self._pending = self._pending, None
        if pending is not None:
            self.failed = self.failed or not (isinstance(pending, ProcExit) and pending.code == 0)
            raise pending
        self.failed = True
        raise ended

    @property
    def memory_limit_hit(self):
        """Whether the guest was refused memory during the last outermost call."""
        return bool(self._memory.refused)

    @property
    def memory_size(self):
        """Bytes; 0 while there is no memory."""
        return self._size()

    cdef inline int64_t _size(self) noexcept:
        return <int64_t>self._memory.size if self._reachable else 0

    cdef inline bint _has(self, int64_t ptr, int64_t size) noexcept:
        cdef int64_t whole = self._size()
        return 0 <= size <= whole and 0 <= ptr <= whole - size

    cdef int _range_error(self, object ptr, object size) except -1:
        raise MemoryRangeError(f"{size} bytes at {ptr} of {self._size()}")

    def has_range(self, ptr, size):
        """Whether ``size`` bytes at ``ptr`` lie inside memory. Zero bytes may also lie right behind its end."""
        return self._has(offset(ptr), offset(size))

    def read(self, ptr, size):
        """A copy of exactly ``size`` bytes.

        :raises MemoryRangeError: not wholly inside memory
        """
        cdef int64_t start = offset(ptr)
        cdef int64_t length = offset(size)
        if not self._has(start, length):
            self._range_error(ptr, size)
        return PyBytes_FromStringAndSize(<const char*>self._memory.base + start, length) if length else b""

    def write(self, ptr, data):
        """Copy ``data`` in.

        :raises MemoryRangeError: not wholly inside memory; nothing was written
        """
        cdef int64_t start = offset(ptr)
        cdef bytes source = data if type(data) is bytes else bytes(data)
        cdef int64_t length = len(source)
        if not self._has(start, length):
            self._range_error(ptr, length)
        self._copy_in(start, PyBytes_AS_STRING(source), length)

    cdef inline void _copy_in(self, int64_t start, const void* data, int64_t length) noexcept:
        """Where the range was checked already."""
        if length:
            memcpy(self._memory.base + start, data, length)

    def read_u32(self, ptr):
        cdef int64_t start = offset(ptr)
        cdef uint32_t value
        if not self._has(start, 4):
            self._range_error(ptr, 4)
        memcpy(&value, self._memory.base + start, 4)
        return value

    def write_u32(self, ptr, value):
        self._write_number(ptr, value, 4)

    def write_u64(self, ptr, value):
        self._write_number(ptr, value, 8)

    cdef int _write_number(self, object ptr, object value, int64_t size) except -1:
        cdef Value slot
        cdef int64_t start = offset(ptr)
        if store_value(&slot, I64, <PyObject*>value):
            raise_current()
        if not self._has(start, size):
            self._range_error(ptr, size)
        self._copy_in(start, &slot, size)
        return 0

    def return_bytes(self, bytes data not None, ptr_slot, size_slot, GuestFunction alloc not None):
        """Hand ``data`` to the guest in a block from its own allocator; ABI status 0, or 6 for a bad address.

        Both slots are checked before anything happens. The allocator is never asked for nothing, on which some
        guests panic: empty data is pointer 0, size 0.

        :raises Trap: the allocator was stopped
        """
        cdef int64_t pointer_at = offset(ptr_slot)
        cdef int64_t size_at = offset(size_slot)
        cdef int64_t size = len(data)
        cdef int64_t start = 0
        cdef uint32_t number
        if not (self._has(pointer_at, 4) and self._has(size_at, 4)):
            return INVALID_MEMORY_ACCESS
        if size:
            ptr = alloc._call((size,))
            start = offset(ptr) if ptr is not None else 0
            # The allocator ran: nothing that was known of the memory before it holds, save that it never shrinks.
            if start == 0 or not self._has(start, size):
                return INVALID_MEMORY_ACCESS
            self._copy_in(start, PyBytes_AS_STRING(data), size)
        number = <uint32_t>start
        self._copy_in(pointer_at, &number, 4)
        number = <uint32_t>size
        self._copy_in(size_at, &number, 4)
        return 0

    def close(self):
        """Free the instance and let go of the host functions; inside a guest call, as soon as that returns."""
        if self._store is None:
            return
        self.failed = True
        if self._depth:
            self._closing = True
            return
        if self._listed:
            self._listed = False
            dismiss(&self._guest)
        self._store.close()
        self._store = self._instance = None
        self._hosts = []
        for fn in self._functions.values():
            if fn is not None:
                (<GuestFunction>fn).vm = None
        self._functions = {}

    def __del__(self):
        if not _is_finalizing():  # then the library's wrapper is half gone, and the system frees everything
            self.close()

    def __dealloc__(self):
        PyMem_Free(self._guest.hosts)


_host_call_type = c.wasmtime_func_unchecked_callback_t
_epoch_moved_type = c._wasmtime_store_epoch_deadline_callback.argtypes[1]

cdef pthread_condattr_t monotonic
pthread_mutex_init(&lock, NULL)
pthread_condattr_init(&monotonic)
pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC)
pthread_cond_init(&wake, &monotonic)
