# The C types that the kernels share.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t

ctypedef uint8_t u8
ctypedef uint16_t u16
ctypedef int32_t i32
ctypedef int64_t i64
ctypedef float f32
ctypedef double f64
