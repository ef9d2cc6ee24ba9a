# The constant velocity filter of SORT (Bewley et al. 2016, section 3.2) on x = [u v s r u' v' s']: centre, area, aspect
# and the velocities of the first three.
#
# The matrices of the model (F, H, P0, Q, R) couple u with u', v with v' and s with s' only, so P stays three 2x2 blocks
# and a scalar for r. The blocks of u and v begin equal and get the same noise, so they stay equal and are kept once.
# With one measurement a block, the 4x4 inverse of the textbook update is four divisions, and the Joseph form reduces to
# P00 = K0 R, P01 = K1 R, P11 -= K1 P01.
from libc.math cimport sqrt

from engine_ext.typedefs cimport f64


ctypedef struct BoxFilter:
    f64 u, v, s, r
    f64 du, dv, ds
    # Blocks [[pp, pv], [pv, vv]] of P: p for position, v for velocity.
    f64 uv_pp, uv_pv, uv_vv
    f64 s_pp, s_pv, s_vv
    f64 r_pp


cdef inline void filter_start(BoxFilter* f, const f64* uvsr) noexcept nogil:
    # P0 = diag(10, 10, 10, 10, 1e4, 1e4, 1e4): nothing is known of the velocities.
    f.u, f.v, f.s, f.r = uvsr[0], uvsr[1], uvsr[2], uvsr[3]
    f.du = f.dv = f.ds = 0.0
    f.uv_pp = f.s_pp = f.r_pp = 10.0
    f.uv_pv = f.s_pv = 0.0
    f.uv_vv = f.s_vv = 1e4


cdef inline void filter_predict(BoxFilter* f) noexcept nogil:
    # x = F x, P = F P F' + Q with Q = diag(1, 1, 1, 1, 0.01, 0.01, 0.0001). An area about to vanish stops shrinking.
    if f.s + f.ds <= 0.0:
        f.ds = 0.0
    f.u += f.du
    f.v += f.dv
    f.s += f.ds
    f.uv_pp += 2.0 * f.uv_pv + f.uv_vv + 1.0
    f.uv_pv += f.uv_vv
    f.uv_vv += 0.01
    f.s_pp += 2.0 * f.s_pv + f.s_vv + 1.0
    f.s_pv += f.s_vv
    f.s_vv += 0.0001
    f.r_pp += 1.0


cdef inline void filter_update(BoxFilter* f, const f64* uvsr) noexcept nogil:
    # One measurement with R = diag(1, 1, 10, 10).
    cdef:
        f64 gain_p, gain_v, miss
    gain_p = f.uv_pp / (f.uv_pp + 1.0)
    gain_v = f.uv_pv / (f.uv_pp + 1.0)
    miss = uvsr[0] - f.u
    f.u += gain_p * miss
    f.du += gain_v * miss
    miss = uvsr[1] - f.v
    f.v += gain_p * miss
    f.dv += gain_v * miss
    f.uv_vv -= gain_v * f.uv_pv
    f.uv_pp = gain_p
    f.uv_pv = gain_v

    gain_p = f.s_pp / (f.s_pp + 10.0)
    gain_v = f.s_pv / (f.s_pp + 10.0)
    miss = uvsr[2] - f.s
    f.s += gain_p * miss
    f.ds += gain_v * miss
    f.s_vv -= gain_v * f.s_pv
    f.s_pp = gain_p * 10.0
    f.s_pv = gain_v * 10.0

    gain_p = f.r_pp / (f.r_pp + 10.0)
    f.r += gain_p * (uvsr[3] - f.r)
    f.r_pp = gain_p * 10.0


cdef inline void filter_box(const BoxFilter* f, f64* xyxy) noexcept nogil:
    # w = sqrt(s r), h = s / w.
    cdef:
        f64 w = sqrt(f.s * f.r)
        f64 h = f.s / w
    xyxy[0] = f.u - w / 2.0
    xyxy[1] = f.v - h / 2.0
    xyxy[2] = f.u + w / 2.0
    xyxy[3] = f.v + h / 2.0
