# Constant-velocity Kalman filters of a box: four coordinates, each with or without a velocity.
#
#   BoxFilter      u v s r  centre, area, aspect (w / h), no velocity of the aspect: SORT and OC-SORT
#   AspectFilter   u v a h  centre, aspect, height: ByteTrack, as DeepSORT has it
#   SizeFilter     u v w h  centre and size: C-BIoU, as BoT-SORT has it
#
# The models' matrices (F, H, P0, Q, R) couple a coordinate only with its own velocity, so P consists of a 2x2 block for
# each. Coordinates whose blocks begin equal and get the same noise share one block. With one measurement per block,
# the inverse of the textbook update is a division, and the Joseph form reduces to P00 = K0 R, P01 = K1 R,
# P11 -= K1 P01.
#
# For a step of dt, F moves by dt times the velocity, and Q is the sum of the noise of single steps,
# Q(k) = sum over i < k of F^i Q F'^i. Its closed form holds for any dt: Q(a + b) = F(b) Q(a) F(b)' + Q(b) for all a and
# b. So one step of 3 predicts the same as three of 1, and dt = 1 is the original model, bit for bit.
from libc.math cimport sqrt

from engine_ext.typedefs cimport f64


# --- a step

ctypedef struct Step:
    # dt and the terms that depend on it alone, which are worked out once per frame.
    f64 dt, twice, squared
    f64 noise_of_p, noise_of_pv    # what pp and pv get of a velocity's noise


cdef inline Step step_of(f64 dt) noexcept nogil:
    cdef Step step
    step.dt, step.twice, step.squared = dt, 2.0 * dt, dt * dt
    step.noise_of_p = dt * (dt - 1.0) * (2.0 * dt - 1.0) / 6.0
    step.noise_of_pv = dt * (dt - 1.0) / 2.0
    return step


# --- a coordinate and its velocity

ctypedef struct Block:
    # [[pp, pv], [pv, vv]] of P: p for position, v for velocity.
    f64 pp, pv, vv


cdef inline Block block(f64 pp, f64 vv) noexcept nogil:
    cdef Block b
    b.pp, b.pv, b.vv = pp, 0.0, vv
    return b


cdef inline void block_predict(Block* b, f64 noise_p, f64 noise_v, Step step) noexcept nogil:
    # noise_p and noise_v are the variances added by one step.
    b.pp += step.twice * b.pv + step.squared * b.vv + (step.dt * noise_p + noise_v * step.noise_of_p)
    b.pv += step.dt * b.vv + noise_v * step.noise_of_pv
    b.vv += step.dt * noise_v


cdef inline void block_update(Block* b, f64 noise, f64* gain_p, f64* gain_v) noexcept nogil:
    gain_p[0] = b.pp / (b.pp + noise)
    gain_v[0] = b.pv / (b.pp + noise)
    b.vv -= gain_v[0] * b.pv
    b.pp = gain_p[0] * noise
    b.pv = gain_v[0] * noise


cdef inline void correct(f64* x, f64* dx, f64 gain_p, f64 gain_v, f64 measured) noexcept nogil:
    cdef f64 miss = measured - x[0]
    x[0] += gain_p * miss
    dx[0] += gain_v * miss


# --- u v s r (Bewley et al. 2016, section 3.2)

ctypedef struct BoxFilter:
    f64 u, v, s, r
    f64 du, dv, ds
    Block of_uv, of_s
    f64 of_r


cdef inline void filter_start(BoxFilter* f, const f64* uvsr) noexcept nogil:
    # P0 = diag(10, 10, 10, 10, 1e4, 1e4, 1e4): the velocities are unknown.
    f.u, f.v, f.s, f.r = uvsr[0], uvsr[1], uvsr[2], uvsr[3]
    f.du = f.dv = f.ds = 0.0
    f.of_uv = f.of_s = block(10.0, 1e4)
    f.of_r = 10.0


cdef inline void filter_move(BoxFilter* f, Step step) noexcept nogil:
    # x = F x, P = F P F' + Q with Q = diag(1, 1, 1, 1, 0.01, 0.01, 0.0001).
    f.u += step.dt * f.du
    f.v += step.dt * f.dv
    f.s += step.dt * f.ds
    block_predict(&f.of_uv, 1.0, 0.01, step)
    block_predict(&f.of_s, 1.0, 0.0001, step)
    f.of_r += step.dt


cdef inline void filter_predict(BoxFilter* f, Step step) noexcept nogil:
    # The area must stay positive, so it stops shrinking.
    if f.s + step.dt * f.ds <= 0.0:
        f.ds = 0.0
    filter_move(f, step)


cdef inline void filter_update(BoxFilter* f, const f64* uvsr) noexcept nogil:
    # A measurement with R = diag(1, 1, 10, 10).
    cdef f64 gain_p, gain_v
    block_update(&f.of_uv, 1.0, &gain_p, &gain_v)
    correct(&f.u, &f.du, gain_p, gain_v, uvsr[0])
    correct(&f.v, &f.dv, gain_p, gain_v, uvsr[1])
    block_update(&f.of_s, 10.0, &gain_p, &gain_v)
    correct(&f.s, &f.ds, gain_p, gain_v, uvsr[2])
    gain_p = f.of_r / (f.of_r + 10.0)
    f.r += gain_p * (uvsr[3] - f.r)
    f.of_r = gain_p * 10.0


cdef inline void filter_box(const BoxFilter* f, f64* xyxy) noexcept nogil:
    # w = sqrt(s r), h = s / w.
    cdef:
        f64 w = sqrt(f.s * f.r)
        f64 h = f.s / w
    xyxy[0] = f.u - w / 2.0
    xyxy[1] = f.v - h / 2.0
    xyxy[2] = f.u + w / 2.0
    xyxy[3] = f.v + h / 2.0


# --- u v a h (Wojke et al. 2017, arXiv 1703.07402): all noise but that of the aspect grows with the height

cdef enum:
    PER_POSITION = 20          # standard deviation of a position: height / 20,
    PER_VELOCITY = 160         # of a velocity: height / 160


ctypedef struct AspectFilter:
    f64 u, v, a, h
    f64 du, dv, da, dh
    Block of_uvh, of_a


cdef inline f64 square(f64 x) noexcept nogil:
    return x * x


cdef inline void aspect_start(AspectFilter* f, const f64* uvah) noexcept nogil:
    f.u, f.v, f.a, f.h = uvah[0], uvah[1], uvah[2], uvah[3]
    f.du = f.dv = f.da = f.dh = 0.0
    f.of_uvh = block(square(2.0 / PER_POSITION * f.h), square(10.0 / PER_VELOCITY * f.h))
    f.of_a = block(square(1e-2), square(1e-5))


cdef inline void aspect_predict(AspectFilter* f, Step step) noexcept nogil:
    block_predict(&f.of_uvh, square(1.0 / PER_POSITION * f.h), square(1.0 / PER_VELOCITY * f.h), step)
    block_predict(&f.of_a, square(1e-2), square(1e-5), step)
    f.u += step.dt * f.du
    f.v += step.dt * f.dv
    f.a += step.dt * f.da
    f.h += step.dt * f.dh


cdef inline void aspect_update(AspectFilter* f, const f64* uvah) noexcept nogil:
    cdef f64 gain_p, gain_v
    block_update(&f.of_uvh, square(1.0 / PER_POSITION * f.h), &gain_p, &gain_v)
    correct(&f.u, &f.du, gain_p, gain_v, uvah[0])
    correct(&f.v, &f.dv, gain_p, gain_v, uvah[1])
    correct(&f.h, &f.dh, gain_p, gain_v, uvah[3])
    block_update(&f.of_a, square(1e-1), &gain_p, &gain_v)
    correct(&f.a, &f.da, gain_p, gain_v, uvah[2])


cdef inline void aspect_box(const AspectFilter* f, f64* xyxy) noexcept nogil:
    cdef f64 w = f.a * f.h
    xyxy[0] = f.u - w / 2.0
    xyxy[1] = f.v - f.h / 2.0
    xyxy[2] = xyxy[0] + w
    xyxy[3] = xyxy[1] + f.h


# --- u v w h (Aharon et al. 2022, arXiv 2206.14651): noise along x grows with the width, along y with the height

ctypedef struct SizeFilter:
    f64 u, v, w, h
    f64 du, dv, dw, dh
    Block of_uw, of_vh


cdef inline void size_start(SizeFilter* f, const f64* uvwh) noexcept nogil:
    f.u, f.v, f.w, f.h = uvwh[0], uvwh[1], uvwh[2], uvwh[3]
    f.du = f.dv = f.dw = f.dh = 0.0
    f.of_uw = block(square(2.0 / PER_POSITION * f.w), square(10.0 / PER_VELOCITY * f.w))
    f.of_vh = block(square(2.0 / PER_POSITION * f.h), square(10.0 / PER_VELOCITY * f.h))


cdef inline void size_keep_positive(SizeFilter* f) noexcept nogil:
    f.w = max(f.w, 1e-3)
    f.h = max(f.h, 1e-3)


cdef inline void size_predict(SizeFilter* f, Step step) noexcept nogil:
    block_predict(&f.of_uw, square(1.0 / PER_POSITION * f.w), square(1.0 / PER_VELOCITY * f.w), step)
    block_predict(&f.of_vh, square(1.0 / PER_POSITION * f.h), square(1.0 / PER_VELOCITY * f.h), step)
    f.u += step.dt * f.du
    f.v += step.dt * f.dv
    f.w += step.dt * f.dw
    f.h += step.dt * f.dh
    size_keep_positive(f)


cdef inline void size_update(SizeFilter* f, const f64* uvwh) noexcept nogil:
    cdef f64 gain_p, gain_v
    block_update(&f.of_uw, square(1.0 / PER_POSITION * f.w), &gain_p, &gain_v)
    correct(&f.u, &f.du, gain_p, gain_v, uvwh[0])
    correct(&f.w, &f.dw, gain_p, gain_v, uvwh[2])
    block_update(&f.of_vh, square(1.0 / PER_POSITION * f.h), &gain_p, &gain_v)
    correct(&f.v, &f.dv, gain_p, gain_v, uvwh[1])
    correct(&f.h, &f.dh, gain_p, gain_v, uvwh[3])
    size_keep_positive(f)


cdef inline void size_box(const SizeFilter* f, f64* xyxy) noexcept nogil:
    xyxy[0] = f.u - f.w / 2.0
    xyxy[1] = f.v - f.h / 2.0
    xyxy[2] = f.u + f.w / 2.0
    xyxy[3] = f.v + f.h / 2.0
