"""Formats detections and tracks as lines of text, and reads tracks. See rows.pyi."""
import numpy as np

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free
from libc.math cimport fabs, floor, signbit
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, strlen

from engine_ext.typedefs cimport f64, i64, u8


cdef extern from "Python.h":
    char *PyOS_double_to_string(double value, char format_code, int precision, int flags, int *kind) except NULL

cdef enum:
    SHORT = 64  # longer than any number that is formatted here, not by Python


cdef class _Text:
    """A growing buffer of bytes."""

    cdef char *start
    cdef size_t used
    cdef size_t size

    def __cinit__(self, size_t size):
        self.start = <char *>malloc(size)
        if self.start == NULL:
            raise MemoryError()
        self.size = size

    def __dealloc__(self):
        free(self.start)

    cdef int room(self, size_t n) except -1:
        """Make room for n more bytes."""
        if self.used + n <= self.size:
            return 0
        cdef size_t size = 2 * (self.used + n)
        cdef char *start = <char *>realloc(self.start, size)
        if start == NULL:
            raise MemoryError()
        self.start, self.size = start, size
        return 0

    cdef int put(self, const char *text, size_t n) except -1:
        self.room(n)
        memcpy(self.start + self.used, text, n)
        self.used += n
        return 0

    cdef int put_bytes(self, bytes text) except -1:
        return self.put(text, len(text))

    cdef int put_int(self, int64_t value) except -1:
        self.room(SHORT)
        if value < 0:
            self.start[self.used] = c"-"
            self.used += 1
        self._digits(<uint64_t>value if value >= 0 else <uint64_t>0 - <uint64_t>value, 1)
        return 0

    cdef int put_fixed(self, double value, int decimals) except -1:
        """Append Python's f"{value:.{decimals}f}": the decimal nearest to the exact value of the double."""
        cdef double scale = 100.0 if decimals == 2 else 10000.0
        cdef double scaled = fabs(value) * scale
        cdef double whole = floor(scaled)
        cdef double rest = scaled - whole
        cdef uint64_t number
        # The product is rounded, which matters only close to a tie: there Python decides.
        if not scaled < 1e9 or fabs(rest - 0.5) < 1e-4:
            return self._put_exactly(value, decimals)
        number = <uint64_t>whole + (rest > 0.5)
        self.room(SHORT)
        if signbit(value):
            self.start[self.used] = c"-"
            self.used += 1
        self._digits(number // <uint64_t>scale, 1)
        self.start[self.used] = c"."
        self.used += 1
        self._digits(number % <uint64_t>scale, decimals)
        return 0

    cdef int _put_exactly(self, double value, int decimals) except -1:
        cdef char *text = PyOS_double_to_string(value, c"f", decimals, 0, NULL)
        try:
            return self.put(text, strlen(text))
        finally:
            PyMem_Free(text)

    cdef void _digits(self, uint64_t number, int least) noexcept:
        """Append at least so many digits. The caller has made room."""
        cdef char[20] backwards
        cdef int n = 0
        while number or n < least:
            backwards[n] = <char>(c"0" + number % 10)
            number //= 10
            n += 1
        while n:
            n -= 1
            self.start[self.used] = backwards[n]
            self.used += 1

    cdef bytes taken(self):
        return PyBytes_FromStringAndSize(self.start, self.used)


def tracks_jsonl(head, track_ids, class_ids, names, scores, boxes_xyxy):
    """Return lines of tracks. See rows.pyi."""
    cdef const int64_t[:] ids = track_ids
    cdef const int32_t[:] classes = class_ids
    cdef const float[:] score = scores
    cdef const f64[:, :] xyxy = boxes_xyxy
    cdef Py_ssize_t i
    _check(ids.shape[0], classes.shape[0], score.shape[0], xyxy.shape[0], xyxy.shape[1])
    cdef _Text text = _Text(256 * ids.shape[0] + 1)
    for i in np.argsort(track_ids, kind="stable").tolist():
        text.put_bytes(head)
        text.put_int(ids[i])
        _put_object(text, b', "class_id": ', classes[i], names, score[i], xyxy, i)
    return text.taken()


def read_tracks_jsonl(text):
    """Parse lines of tracks. See rows.pyi."""
    cdef const u8[::1] lines = text
    cdef Py_ssize_t count = 0, row, k
    cdef const char *at = <const char *>&lines[0] if lines.shape[0] else NULL
    cdef const char *end = at + lines.shape[0]
    cdef const char *name = at
    while name != end and (name := <const char *>memchr(name, c"\n", end - name)) != NULL:
        name, count = name + 1, count + 1
    table = np.empty((count, 10), np.float64)
    cdef f64[:, ::1] values = table
    cdef dict names = {}
    for row in range(count):
        _skip(&at, end, b'{"frame": ')
        values[row, 0] = _number(&at, end)
        _skip(&at, end, b', "pts": ')
        values[row, 1] = _number(&at, end)
        _skip(&at, end, b', "time_s": ')
        values[row, 2] = _number(&at, end)
        if end - at > 10 and at[3] == c"t" and at[7] == c'"':  # , "time": "...": the wall clock
            _skip(&at, end, b', "time": ')
            _pass_string(&at, end)
        _skip(&at, end, b', "track_id": ')
        values[row, 3] = _number(&at, end)
        _skip(&at, end, b', "class_id": ')
        values[row, 4] = _number(&at, end)
        _skip(&at, end, b', "class": ')
        name = at
        _pass_string(&at, end)
        if <i64>values[row, 4] not in names:
            names[<i64>values[row, 4]] = name[:at - name]
        _skip(&at, end, b', "score": ')
        values[row, 5] = _number(&at, end)
        _skip(&at, end, b', "box_xyxy": [')
        for k in range(4):
            if k:
                _skip(&at, end, b', ')
            values[row, 6 + k] = _number(&at, end)
        _skip(&at, end, b']}\n')
    if at != end:
        raise ValueError("a line has no end")
    return table, names


cdef int _skip(const char **at, const char *end, bytes wanted) except -1:
    cdef Py_ssize_t size = len(wanted)
    if end - at[0] < size or memcmp(at[0], <const char *>wanted, size) != 0:
        raise ValueError(f"{wanted.decode()} is not where it should be")
    at[0] += size
    return 0


cdef int _pass_string(const char **at, const char *end) except -1:
    cdef const char *here = at[0]
    if here >= end or here[0] != c'"':
        raise ValueError("a text is not where it should be")
    here += 1
    while here < end and here[0] != c'"' and here[0] != c"\n":
        here += 2 if here[0] == c"\\" else 1
    if here >= end or here[0] != c'"':
        raise ValueError("a text has no end")
    at[0] = here + 1
    return 0


cdef f64 _number(const char **at, const char *end) except? -1:
    """Parse a decimal of at most 15 digits: an integer over a power of ten, both exact, so that it is rounded once, as
    Python's float() rounds it."""
    cdef const char *here = at[0]
    cdef bint negative = here < end and here[0] == c"-"
    cdef uint64_t digits = 0
    cdef int count = 0, behind = -1
    cdef f64 scale = 1.0, value
    here += negative
    while here < end and (c"0" <= here[0] <= c"9" or (here[0] == c"." and behind < 0)):
        if here[0] == c".":
            behind = 0
        else:
            digits = 10 * digits + (here[0] - c"0")
            count += 1
            if behind >= 0:
                behind += 1
                scale *= 10.0
        here += 1
        if count > 15:
            break
    if not 0 < count <= 15 or behind == 0 or (here < end and (here[0] == c"e" or here[0] == c"E")):
        raise ValueError("a number is not where it should be, or a long one")
    at[0] = here
    value = <f64>digits / scale
    return -value if negative else value


def detections_jsonl(head, class_ids, names, scores, boxes_xyxy):
    """Return lines of detections. See rows.pyi."""
    cdef const int32_t[:] classes = class_ids
    cdef const float[:] score = scores
    cdef const f64[:, :] xyxy = boxes_xyxy
    cdef Py_ssize_t i
    _check(classes.shape[0], classes.shape[0], score.shape[0], xyxy.shape[0], xyxy.shape[1])
    cdef _Text text = _Text(256 * classes.shape[0] + 1)
    for i in range(classes.shape[0]):
        _put_object(text, head, classes[i], names, score[i], xyxy, i)
    return text.taken()


def mot(number, track_ids, scores, boxes_xyxy):
    """Return lines of a MOTChallenge result. See rows.pyi."""
    cdef const int64_t[:] ids = track_ids
    cdef const float[:] score = scores
    cdef const f64[:, :] xyxy = boxes_xyxy
    cdef int64_t frame = number
    cdef Py_ssize_t i, k
    cdef f64[4] xywh
    _check(ids.shape[0], ids.shape[0], score.shape[0], xyxy.shape[0], xyxy.shape[1])
    cdef _Text text = _Text(128 * ids.shape[0] + 1)
    for i in np.argsort(track_ids, kind="stable").tolist():
        text.put_int(frame)
        text.put(b",", 1)
        text.put_int(ids[i])
        xywh = [xyxy[i, 0], xyxy[i, 1], xyxy[i, 2] - xyxy[i, 0], xyxy[i, 3] - xyxy[i, 1]]
        for k in range(4):
            text.put(b",", 1)
            text.put_fixed(xywh[k], 2)
        text.put(b",", 1)
        text.put_fixed(score[i], 4)
        text.put(b",-1,-1,-1\n", 10)
    return text.taken()


cdef int _put_object(
    _Text text, bytes before, int32_t class_id, list names, double score, const f64[:, :] xyxy, Py_ssize_t i
) except -1:
    """Append the end of a JSON line, from the class to the box."""
    cdef Py_ssize_t k
    if not 0 <= class_id < len(names):
        raise ValueError(f"class_ids must be in [0, {len(names)}). Got {class_id}.")
    text.put_bytes(before)
    text.put_int(class_id)
    text.put_bytes(b', "class": ')
    text.put_bytes(names[class_id])
    text.put_bytes(b', "score": ')
    text.put_fixed(score, 4)
    text.put_bytes(b', "box_xyxy": [')
    for k in range(4):
        if k:
            text.put(b", ", 2)
        text.put_fixed(xyxy[i, k], 2)
    return text.put_bytes(b"]}\n")


cdef int _check(Py_ssize_t ids, Py_ssize_t classes, Py_ssize_t scores, Py_ssize_t boxes, Py_ssize_t columns) except -1:
    if not ids == classes == scores == boxes or columns != 4:
        raise ValueError(
            "every column must have as many rows as the others, and boxes_xyxy 4 columns. "
            f"Got {ids}, {classes}, {scores} and ({boxes}, {columns})."
        )
    return 0
