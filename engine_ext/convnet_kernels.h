/* The kernels of convnet.h, for one instruction set. Included once for each; so no include guard.
 *
 * NAME(x) gives a function the suffix of the set, TARGET lets the compiler use it, CONVNET_512 tells the two apart.
 * Whatever is summed is summed in the same order in every tile, so a pixel's bits do not depend on where tiles begin.
 */
#ifdef CONVNET_512
#define VECTOR __m512
#define LANES 16
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define ALL(x) _mm512_set1_ps(x)
#define ADD(a, b) _mm512_add_ps(a, b)
#define SUB(a, b) _mm512_sub_ps(a, b)
#define MUL(a, b) _mm512_mul_ps(a, b)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define FNMA(a, b, c) _mm512_fnmadd_ps(a, b, c)
#define MIN(a, b) _mm512_min_ps(a, b)
#define MAX(a, b) _mm512_max_ps(a, b)
#else
#define VECTOR __m256
#define LANES 8
#define LOAD(p) _mm256_loadu_ps(p)
#define STORE(p, v) _mm256_storeu_ps(p, v)
#define ALL(x) _mm256_set1_ps(x)
#define ADD(a, b) _mm256_add_ps(a, b)
#define SUB(a, b) _mm256_sub_ps(a, b)
#define MUL(a, b) _mm256_mul_ps(a, b)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define FNMA(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define MIN(a, b) _mm256_min_ps(a, b)
#define MAX(a, b) _mm256_max_ps(a, b)
#endif
#define PARTS (16 / LANES)

/* ---- activations ---- */

/* exp(-y) as a product of two, for y of at most 87 that is not below -87. */
#ifdef CONVNET_512
#define CONVNET_EXP_MINUS(y, power, p)                                                                                 \
    const VECTOR magic = ALL(12582912.0f);                                                                             \
    const VECTOR scale = ALL(-46.16624f); /* -32 / ln 2 */                                                             \
    const VECTOR t = FMA(y, scale, magic);                                                                             \
    const VECTOR r = _mm512_fmsub_ps(y, scale, _mm512_sub_ps(t, magic));                                               \
    const __m512i k = _mm512_castps_si512(t);                                                                          \
    const __m512i root = _mm512_permutex2var_epi32(_mm512_load_si512(convnet_exp2_32), k,                              \
                                                   _mm512_load_si512(convnet_exp2_32 + 16));                           \
    const VECTOR power = _mm512_castsi512_ps(_mm512_add_epi32(root, _mm512_slli_epi32(k, 18)));                        \
    const VECTOR p = FMA(FMA(ALL(0.0002345962f), r, ALL(0.021661166f)), r, ALL(1.0f));
#else
#define CONVNET_EXP_MINUS(y, power, p)                                                                                 \
    const VECTOR magic = ALL(12582912.0f);                                                                             \
    const VECTOR scale = ALL(-11.54156f); /* -8 / ln 2 */                                                              \
    const VECTOR t = FMA(y, scale, magic);                                                                             \
    const VECTOR r = _mm256_fmsub_ps(y, scale, _mm256_sub_ps(t, magic));                                               \
    const __m256i k = _mm256_castps_si256(t);                                                                          \
    const __m256i root = _mm256_permutevar8x32_epi32(_mm256_load_si256((const __m256i *)convnet_exp2_8), k);           \
    const VECTOR power = _mm256_castsi256_ps(_mm256_add_epi32(root, _mm256_slli_epi32(k, 20)));                        \
    const VECTOR p =                                                                                                   \
        FMA(FMA(FMA(ALL(0.00010839106f), r, ALL(0.0037540256f)), r, ALL(0.086643405f)), r, ALL(1.0f));
#endif

/* factor / (1 + exp(-x)). The error is below 5e-7 of the result for |x| <= 8, growing to 4e-6 at x = -87.
 *
 * exp(-x) = 2**(k / n) * 2**(r / n) with k + r = -x * n / ln 2, k whole, |r| <= 1/2. The first factor is one of a table of
 * n, which fills registers, and an exponent; the second a polynomial, off by 5.4e-8 (n = 32) or 2.7e-8 (n = 8). Adding
 * 3 * 2**22 leaves k in the low bits of a float. With AVX-512 the quotient is the processor's estimate of 14 bits after
 * a step of Newton's method, which doubles them; a division there takes longer, with AVX2 it does not. Callers keep x
 * above -87, as is done below 87 here: infinities must not meet in Newton's step. NaN stays NaN, being the second operand
 * of MIN and MAX. */
CONVNET_INLINE TARGET VECTOR NAME(times_sigmoid)(VECTOR factor, VECTOR x)
{
    const VECTOR y = MIN(ALL(87.0f), x);
    CONVNET_EXP_MINUS(y, power, p)
#ifdef CONVNET_512
    const VECTOR d = FMA(power, p, ALL(1.0f));
    const VECTOR q = _mm512_rcp14_ps(d);
    return MUL(factor, FMA(FNMA(d, q, ALL(1.0f)), q, q));
#else
    return _mm256_div_ps(factor, FMA(power, p, ALL(1.0f)));
#endif
}

/* exp(-y) for y >= 0. Where it would be below 1e-38 it stays that. */
CONVNET_INLINE TARGET VECTOR NAME(exp_minus)(VECTOR y)
{
    y = MIN(ALL(87.0f), y);
    CONVNET_EXP_MINUS(y, power, p)
    return MUL(power, p);
}

CONVNET_INLINE TARGET VECTOR NAME(silu)(VECTOR x)
{
    x = MAX(ALL(-87.0f), x); /* where the result is 0 in all but its last bits */
    return NAME(times_sigmoid)(x, x);
}

CONVNET_INLINE TARGET VECTOR NAME(sigmoid)(VECTOR x)
{
    return NAME(times_sigmoid)(ALL(1.0f), MAX(ALL(-87.0f), x));
}

/* A vector of what is joined, where something is: `other` lies like `out`, with a distance of its own. */
#define CONVNET_ROWS(expression)                                                                                       \
    for (ptrdiff_t b = 0; b < blocks; b++, from += from_block, out += out_block, other += other_block)                 \
        for (ptrdiff_t i = 0; i < n; i += LANES) {                                                                     \
            expression                                                                                                 \
        }

#define CONVNET_EACH(expression)                                                                                       \
    switch (when) {                                                                                                    \
    case CONVNET_NO_OTHER:                                                                                             \
        CONVNET_ROWS(const VECTOR x = LOAD(from + i); STORE(out + i, expression);)                                     \
        break;                                                                                                         \
    case CONVNET_ADD_BEFORE:                                                                                           \
        CONVNET_ROWS(const VECTOR x = ADD(LOAD(from + i), LOAD(other + i)); STORE(out + i, expression);)               \
        break;                                                                                                         \
    case CONVNET_ADD_AFTER:                                                                                            \
        CONVNET_ROWS(const VECTOR x = LOAD(from + i); STORE(out + i, ADD(expression, LOAD(other + i)));)               \
        break;                                                                                                         \
    default:                                                                                                           \
        CONVNET_ROWS(const VECTOR x = LOAD(from + i); STORE(out + i, MUL(expression, LOAD(other + i)));)               \
    }

/* out = activation(from), with `other` added before it, added after it, or multiplied with what it gives: `n` floats of
 * each block. `out` may be `from`. */
static TARGET void NAME(finish)(const float *from, ptrdiff_t from_block, const float *other, ptrdiff_t other_block,
                                float *out, ptrdiff_t out_block, ptrdiff_t blocks, ptrdiff_t n, int64_t activation,
                                int64_t when, const float *numbers)
{
    const VECTOR zero = ALL(0.0f), one = ALL(1.0f);
    const VECTOR first = ALL(numbers[0]), second = ALL(numbers[1]);
    switch (activation) {
    case CONVNET_NOTHING:
        CONVNET_EACH(x)
        break;
    case CONVNET_SILU:
        CONVNET_EACH(NAME(silu)(x))
        break;
    case CONVNET_SIGMOID:
        CONVNET_EACH(NAME(sigmoid)(x))
        break;
    case CONVNET_RELU:
        CONVNET_EACH(MAX(zero, x))
        break;
    case CONVNET_LEAKY_RELU:
        CONVNET_EACH(FMA(first, MIN(zero, x), MAX(zero, x)))
        break;
    case CONVNET_CLIP:
        CONVNET_EACH(MIN(second, MAX(first, x)))
        break;
    case CONVNET_HARD_SIGMOID:
        CONVNET_EACH(MIN(one, MAX(zero, FMA(first, x, second))))
        break;
    default:
        CONVNET_EACH(MUL(x, MIN(one, MAX(zero, FMA(first, x, second)))))
    }
}

/* ---- convolution ---- */

/* Every float of the input is spread over a register and meets the weights of all channels of the group. */
CONVNET_INLINE TARGET void NAME(product)(VECTOR *sum, const float *weights, const float *from, ptrdiff_t step,
                                         const int vectors, const int pixels)
{
    VECTOR w[CONVNET_MAX_TILE_BLOCKS];
#pragma GCC unroll 32
    for (int v = 0; v < vectors; v++)
        w[v] = LOAD(weights + v * LANES);
#pragma GCC unroll 32
    for (int p = 0; p < pixels; p++) {
        const VECTOR x = ALL(from[p * step]);
#pragma GCC unroll 32
        for (int v = 0; v < vectors; v++)
            sum[v * pixels + p] = FMA(x, w[v], sum[v * pixels + p]);
    }
}

/* `length` products of each pixel, for one vector of channels: each float of the row is loaded once, though up to three
 * pixels meet it. What a pixel sums it sums in the same order. */
CONVNET_INLINE TARGET void NAME(row_product)(VECTOR *sum, const float *weights, const float *from, const int step,
                                             const int length, const int pixels)
{
    VECTOR w[8];
#pragma GCC unroll 8
    for (int i = 0; i < length; i++)
        w[i] = LOAD(weights + i * LANES);
#pragma GCC unroll 32
    for (int column = 0; column < (pixels - 1) * step + length; column++) {
        const VECTOR x = ALL(from[column]);
#pragma GCC unroll 8
        for (int i = 0; i < length; i++) {
            const int p = (column - i) / step;
            if (column >= i && p * step == column - i && p < pixels)
                sum[p] = FMA(x, w[i], sum[p]);
        }
    }
}

/* tile[block][pixel][16] = bias + weights * input, for `pixels` neighbours `step` floats apart. Weights: [row of a
 * segment][vectors]. Where `length` is given, it is that of all segments. */
CONVNET_INLINE TARGET void NAME(accumulate)(const float *weights, const float *bias, const float *input,
                                            const ConvnetSegment *segments, ptrdiff_t count, ptrdiff_t step,
                                            const int length, const int vectors, const int pixels, float *tile)
{
    VECTOR sum[CONVNET_MAX_TILE_BLOCKS * CONVNET_MAX_TILE_PIXELS];
#pragma GCC unroll 32
    for (int v = 0; v < vectors; v++)
#pragma GCC unroll 32
        for (int p = 0; p < pixels; p++)
            sum[v * pixels + p] = LOAD(bias + v * LANES);
    for (ptrdiff_t s = 0; s < count; s++) {
        const float *from = input + segments[s].at;
        if (length > 4) {
            NAME(row_product)(sum, weights, from, (int)step, length, pixels);
            weights += length * LANES;
        } else if (length) {
#pragma GCC unroll 4
            for (int i = 0; i < length; i++, weights += vectors * LANES)
                NAME(product)(sum, weights, from + i, step, vectors, pixels);
        } else {
            for (const float *end = from + segments[s].length; from < end; from++, weights += vectors * LANES)
                NAME(product)(sum, weights, from, step, vectors, pixels);
        }
    }
#pragma GCC unroll 32
    for (int v = 0; v < vectors; v++)
#pragma GCC unroll 32
        for (int p = 0; p < pixels; p++)
            STORE(tile + (v / PARTS * pixels + p) * 16 + v % PARTS * LANES, sum[v * pixels + p]);
}

#define CONVNET_ACCUMULATE(step, length, blocks, pixels)                                                               \
    NAME(accumulate)(weights, bias, input, segments, count, step, length, (blocks) * PARTS, pixels, tile)

/* Any distance of pixels. */
#define CONVNET_SLOW(blocks, pixels)                                                                                   \
    case pixels:                                                                                                       \
        CONVNET_ACCUMULATE(step, 0, blocks, pixels);                                                                   \
        break;

/* Distances that the compiler knows let one register address all pixels: strides 1 and 2 of a tensor, and stride 2 of
 * the picture, with the kernels that detectors begin with. */
#define CONVNET_FAST(blocks, pixels)                                                                                   \
    case pixels:                                                                                                       \
        if (step == 16)                                                                                                \
            CONVNET_ACCUMULATE(16, 0, blocks, pixels);                                                                 \
        else if (step == 32)                                                                                           \
            CONVNET_ACCUMULATE(32, 0, blocks, pixels);                                                                 \
        else if (step == 2 && length == 3)                                                                             \
            CONVNET_ACCUMULATE(2, 3, blocks, pixels);                                                                  \
        else if (step == 2 && length == 6 && (blocks) * PARTS == 1)                                                    \
            CONVNET_ACCUMULATE(2, 6, blocks, pixels);                                                                  \
        else if (step == 2)                                                                                            \
            CONVNET_ACCUMULATE(2, 0, blocks, pixels);                                                                  \
        else                                                                                                           \
            CONVNET_ACCUMULATE(step, 0, blocks, pixels);                                                               \
        break;

#define CONVNET_TILE_ARGUMENTS                                                                                         \
    const float *weights, const float *bias, const float *input, const ConvnetSegment *segments, ptrdiff_t count,      \
        ptrdiff_t step, ptrdiff_t length, ptrdiff_t pixels, float *tile

#ifdef CONVNET_512
/* Pixels of a tile for groups of 1 to 4 blocks: 12 or 24 sums, which keep two units of 4 cycles busy, weights, inputs. */
static const ptrdiff_t NAME(max_tile_pixels)[CONVNET_MAX_TILE_BLOCKS + 1] = {0, 12, 12, 8, 6};

static TARGET void NAME(tile_1)(CONVNET_TILE_ARGUMENTS)
{
    switch (pixels) {
        CONVNET_FAST(1, 12)
        CONVNET_FAST(1, 11)
        CONVNET_FAST(1, 10)
        CONVNET_FAST(1, 9)
        CONVNET_FAST(1, 8)
        CONVNET_FAST(1, 7)
        CONVNET_FAST(1, 6)
        CONVNET_SLOW(1, 5)
        CONVNET_SLOW(1, 4)
        CONVNET_SLOW(1, 3)
        CONVNET_SLOW(1, 2)
        CONVNET_SLOW(1, 1)
    }
}

static TARGET void NAME(tile_2)(CONVNET_TILE_ARGUMENTS)
{
    switch (pixels) {
        CONVNET_FAST(2, 12)
        CONVNET_FAST(2, 11)
        CONVNET_FAST(2, 10)
        CONVNET_FAST(2, 9)
        CONVNET_FAST(2, 8)
        CONVNET_FAST(2, 7)
        CONVNET_FAST(2, 6)
        CONVNET_SLOW(2, 5)
        CONVNET_SLOW(2, 4)
        CONVNET_SLOW(2, 3)
        CONVNET_SLOW(2, 2)
        CONVNET_SLOW(2, 1)
    }
}

static TARGET void NAME(tile_3)(CONVNET_TILE_ARGUMENTS)
{
    switch (pixels) {
        CONVNET_FAST(3, 8)
        CONVNET_FAST(3, 7)
        CONVNET_FAST(3, 6)
        CONVNET_FAST(3, 5)
        CONVNET_FAST(3, 4)
        CONVNET_SLOW(3, 3)
        CONVNET_SLOW(3, 2)
        CONVNET_SLOW(3, 1)
    }
}

static TARGET void NAME(tile_4)(CONVNET_TILE_ARGUMENTS)
{
    switch (pixels) {
        CONVNET_FAST(4, 6)
        CONVNET_FAST(4, 5)
        CONVNET_FAST(4, 4)
        CONVNET_FAST(4, 3)
        CONVNET_SLOW(4, 2)
        CONVNET_SLOW(4, 1)
    }
}
#else
static const ptrdiff_t NAME(max_tile_pixels)[CONVNET_MAX_TILE_BLOCKS + 1] = {0, 6};

static TARGET void NAME(tile_1)(CONVNET_TILE_ARGUMENTS)
{
    switch (pixels) {
        CONVNET_FAST(1, 6)
        CONVNET_FAST(1, 5)
        CONVNET_FAST(1, 4)
        CONVNET_FAST(1, 3)
        CONVNET_SLOW(1, 2)
        CONVNET_SLOW(1, 1)
    }
}
#endif

/* Computes a tile that leaves the rest of `pixels` to tiles of about its size; gives its number of pixels. `length` is
 * that of all segments, or 0. */
static TARGET ptrdiff_t NAME(tile)(ptrdiff_t blocks, CONVNET_TILE_ARGUMENTS)
{
    pixels = (ptrdiff_t)convnet_even_tile(pixels, NAME(max_tile_pixels)[blocks]);
#ifdef CONVNET_512
    if (blocks == 4)
        NAME(tile_4)(weights, bias, input, segments, count, step, length, pixels, tile);
    else if (blocks == 3)
        NAME(tile_3)(weights, bias, input, segments, count, step, length, pixels, tile);
    else if (blocks == 2)
        NAME(tile_2)(weights, bias, input, segments, count, step, length, pixels, tile);
    else
#endif
        NAME(tile_1)(weights, bias, input, segments, count, step, length, pixels, tile);
    return pixels;
}

/* tile[block][pixel][16] to rows of the output; lanes above the last channel stay behind. */
static TARGET void NAME(store_rows)(const float *tile, ptrdiff_t blocks, ptrdiff_t pixels, ptrdiff_t channels,
                                    float *out, ptrdiff_t row_length)
{
    for (ptrdiff_t b = 0; b < blocks; b++, out += 16, channels -= 16)
        for (ptrdiff_t p = 0; p < pixels; p++) {
            const float *from = tile + (b * pixels + p) * 16;
            float *to = out + p * row_length;
            if (channels >= 16) {
                for (int v = 0; v < PARTS; v++)
                    STORE(to + v * LANES, LOAD(from + v * LANES));
            } else {
                for (ptrdiff_t c = 0; c < channels; c++)
                    to[c] = from[c];
            }
        }
}

/* tile[block][pixel][16], sums of `blocks` blocks from b on and of `pixels` pixels from `pixel` on, to the output. */
static TARGET void NAME(put_tile)(const ConvnetStep *s, const ConvnetBuffers *at, float *tile, ptrdiff_t b,
                                  ptrdiff_t blocks, ptrdiff_t pixel, ptrdiff_t pixels)
{
    const float *numbers = at->weights + s->activation_at;
    if (s->row_length) {
        NAME(finish)(tile, 0, tile, 0, tile, 0, 1, blocks * pixels * 16, s->activation, CONVNET_NO_OTHER, numbers);
        NAME(store_rows)(tile, blocks, pixels, s->out_channels - b * 16,
                         at->output + s->out_at + pixel * s->row_length + b * 16, s->row_length);
        return;
    }
    NAME(finish)(tile, pixels * 16, at->workspace + s->other_at + b * s->other_block + pixel * 16, s->other_block,
                 at->workspace + s->out_at + b * s->out_block + pixel * 16, s->out_block, blocks, pixels * 16,
                 s->activation, s->other_when, numbers);
}

/* A row of the input, or zeros, into its slot of the ring: padded left and right, all blocks (or planes). */
static TARGET void NAME(fill_slot)(const ConvnetStep *s, const ConvnetBuffers *at, ptrdiff_t y, ptrdiff_t width,
                                   float *slot)
{
    const ptrdiff_t parts = s->planar ? s->in_channels : (s->in_channels + 15) / 16;
    const ptrdiff_t unit = s->planar ? 1 : 16;
    ptrdiff_t here = width - s->pad_left < s->in_width ? width - s->pad_left : s->in_width;
    if (y < 0 || y >= s->in_height || here < 0) {
        memset(slot, 0, sizeof(float) * (size_t)(parts * width * unit));
        return;
    }
    const float *from = (s->planar ? at->picture : at->workspace) + s->in_at + y * s->in_width * unit;
    for (ptrdiff_t i = 0; i < parts; i++, from += s->in_block, slot += width * unit) {
        memset(slot, 0, sizeof(float) * (size_t)(s->pad_left * unit));
        float *to = slot + s->pad_left * unit;
        if (s->affine_at >= 0) {
            const float factor = at->weights[s->affine_at + i], summand = at->weights[s->affine_at + parts + i];
            for (ptrdiff_t x = 0; x < here; x++)
                to[x] = from[x] * factor + summand;
        } else {
            memcpy(to, from, sizeof(float) * (size_t)(here * unit));
        }
        memset(to + here * unit, 0, sizeof(float) * (size_t)((width - s->pad_left - here) * unit));
    }
}

static TARGET void NAME(conv)(const ConvnetStep *s, const ConvnetBuffers *at)
{
    const ptrdiff_t unit = s->planar ? 1 : 16;
    const ptrdiff_t parts = s->planar ? s->in_channels : (s->in_channels + 15) / 16;
    const ptrdiff_t out_blocks = (s->out_channels + 15) / 16;
    const ptrdiff_t width = (s->out_width - 1) * s->stride_width + s->kernel_width; /* of a padded row */
    const int ring = s->scratch_at >= 0;
    const float *input = ring        ? at->workspace + s->scratch_at
                         : s->planar ? at->picture + s->in_at
                                     : at->workspace + s->in_at;
    const ptrdiff_t row = ring ? width * unit * parts : s->in_width * unit;
    const ptrdiff_t block = ring ? width * unit : s->in_block;
    const ptrdiff_t step = s->stride_width * unit;
    const ptrdiff_t products = s->kernel_height * s->kernel_width * s->in_channels;
    ConvnetSegment *segments = (ConvnetSegment *)(at->workspace + s->segments_at);
    float tile[CONVNET_MAX_TILE_BLOCKS * CONVNET_MAX_TILE_PIXELS * 16] __attribute__((aligned(64)));
    ptrdiff_t filled = 0; /* rows of the padded input that went through the ring */

    for (ptrdiff_t y = 0; y < s->out_height; y++) {
        const ptrdiff_t top = y * s->stride_height; /* in rows of the padded input */
        if (ring)
            for (filled = filled > top ? filled : top; filled < top + s->kernel_height; filled++)
                NAME(fill_slot)(s, at, filled - s->pad_top, width,
                                at->workspace + s->scratch_at + filled % s->kernel_height * row);
        ptrdiff_t count = 0;
        for (ptrdiff_t ky = 0; ky < s->kernel_height; ky++) {
            const ptrdiff_t start = (ring ? (top + ky) % s->kernel_height : top + ky) * row;
            for (ptrdiff_t i = 0; i < parts; i++) {
                if (s->planar) {
                    segments[count].at = start + i * block;
                    segments[count++].length = s->kernel_width;
                    continue;
                }
                const ptrdiff_t left = s->in_channels - i * 16;
                for (ptrdiff_t kx = 0; kx < s->kernel_width; kx++) {
                    segments[count].at = start + i * block + kx * 16;
                    segments[count++].length = left < 16 ? left : 16;
                }
            }
        }
        for (ptrdiff_t first = 0; first < s->out_width; first += s->chunk) {
            const ptrdiff_t end = first + s->chunk < s->out_width ? first + s->chunk : s->out_width;
            const float *weights = at->weights + s->weights_at;
            for (ptrdiff_t b = 0; b < out_blocks; b += s->group) {
                const ptrdiff_t blocks = out_blocks - b < s->group ? out_blocks - b : s->group;
                const float *bias = at->weights + s->bias_at + b * 16;
                for (ptrdiff_t x = first, done; x < end; x += done) {
                    done = NAME(tile)(blocks, weights, bias, input + x * step, segments, count, step,
                                      s->planar ? s->kernel_width : 0, end - x, tile);
                    NAME(put_tile)(s, at, tile, b, blocks, y * s->out_width + x, done);
                }
                weights += products * blocks * 16;
            }
        }
    }
}

/* ---- convolution of 3x3 by Winograd's F(2x2, 3x3) ---- */

/* d0 - d2, d1 + d2, d2 - d1, d1 - d3 of four vectors, `step` from one to the next. */
CONVNET_INLINE TARGET void NAME(winograd_in)(const VECTOR *from, VECTOR *to, const int step)
{
    to[0] = SUB(from[0], from[2 * step]);
    to[step] = ADD(from[step], from[2 * step]);
    to[2 * step] = SUB(from[2 * step], from[step]);
    to[3 * step] = SUB(from[step], from[3 * step]);
}

/* Rows of a block's input under `tiles` neighbouring tiles of 2x2 pixels: 4 of 2 * tiles + 2 pixels, zeros outside. */
static TARGET void NAME(winograd_rows)(const ConvnetStep *s, const float *input, ptrdiff_t top, ptrdiff_t left,
                                       ptrdiff_t tiles, float *rows)
{
    const ptrdiff_t width = 2 * tiles + 2, before = left < 0 ? -left : 0;
    const ptrdiff_t end = s->in_width - left < width ? s->in_width - left : width;
    for (ptrdiff_t r = 0; r < 4; r++) {
        float *row = rows + r * width * 16;
        if (top + r < 0 || top + r >= s->in_height || end <= before) {
            memset(row, 0, sizeof(float) * (size_t)(width * 16));
            continue;
        }
        memset(row, 0, sizeof(float) * (size_t)(before * 16));
        memcpy(row + before * 16, input + ((top + r) * s->in_width + left + before) * 16,
               sizeof(float) * (size_t)((end - before) * 16));
        memset(row + end * 16, 0, sizeof(float) * (size_t)((width - end) * 16));
    }
}

/* The 16 numbers of a tile, from its 4x4 pixels in rows of `width` pixels. */
CONVNET_INLINE TARGET void NAME(winograd_numbers)(const float *rows, ptrdiff_t width, VECTOR *to)
{
    VECTOR half[16];
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++)
            to[r * 4 + c] = LOAD(rows + (r * width + c) * 16);
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++)
        NAME(winograd_in)(to + c, half + c, 4);
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
        NAME(winograd_in)(half + r * 4, to + r * 4, 1);
}

/* Each tile's 16 numbers, `apart` floats from one to the next. */
static TARGET void NAME(winograd_input)(const float *rows, ptrdiff_t tiles, float *to, ptrdiff_t apart)
{
    for (ptrdiff_t t = 0; t < tiles; t++, rows += 32, to += 16)
        for (int v = 0; v < PARTS; v++) {
            VECTOR d[16];
            NAME(winograd_numbers)(rows + v * LANES, 2 * tiles + 2, d);
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++)
                STORE(to + i * apart + v * LANES, d[i]);
        }
}

/* The 2x2 pixels of `tiles` neighbouring tiles of a block from 16 sums each, `apart` floats from one to the next: two
 * rows of 2 * tiles pixels, `row` floats from one to the other. */
static TARGET void NAME(winograd_output)(const float *from, ptrdiff_t apart, const float *bias, ptrdiff_t tiles,
                                         float *to, ptrdiff_t row)
{
    for (ptrdiff_t t = 0; t < tiles; t++, from += 16, to += 32)
        for (int v = 0; v < PARTS; v++) {
            const VECTOR add = LOAD(bias + v * LANES);
            VECTOR m[16], half[8];
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++)
                m[i] = LOAD(from + i * apart + v * LANES);
#pragma GCC unroll 4
            for (int c = 0; c < 4; c++) {
                half[c] = ADD(ADD(m[c], m[4 + c]), m[8 + c]);
                half[4 + c] = SUB(SUB(m[4 + c], m[8 + c]), m[12 + c]);
            }
#pragma GCC unroll 2
            for (int r = 0; r < 2; r++) {
                const VECTOR *h = half + r * 4;
                STORE(to + r * row + v * LANES, ADD(ADD(ADD(h[0], h[1]), h[2]), add));
                STORE(to + r * row + 16 + v * LANES, ADD(SUB(SUB(h[1], h[2]), h[3]), add));
            }
        }
}

/* The pixels of `count` tiles from `first` on, of `blocks` blocks from b on: sums[number][block][tile][16]. */
static TARGET void NAME(winograd_finish)(const ConvnetStep *s, const ConvnetBuffers *at, ptrdiff_t b, ptrdiff_t blocks,
                                         ptrdiff_t first, ptrdiff_t count, const float *sums, float *pixels)
{
    const ptrdiff_t across = (s->out_width + 1) / 2, one = count * 16;
    for (ptrdiff_t t = 0, here; t < count; t += here) {
        const ptrdiff_t y = (first + t) / across * 2, x = (first + t) % across;
        here = across - x < count - t ? across - x : count - t;
        const ptrdiff_t row = 2 * here * 16;
        const ptrdiff_t width = s->out_width - 2 * x < 2 * here ? s->out_width - 2 * x : 2 * here;
        for (ptrdiff_t i = 0; i < blocks; i++)
            NAME(winograd_output)(sums + i * one + t * 16, blocks * one, at->weights + s->bias_at + (b + i) * 16, here,
                                  pixels + i * 2 * row, row);
        for (ptrdiff_t r = 0; r < 2 && y + r < s->out_height; r++) {
            const ptrdiff_t pixel = (y + r) * s->out_width + 2 * x;
            NAME(finish)(pixels + r * row, 2 * row,
                         at->workspace + s->other_at + b * s->other_block + pixel * 16, s->other_block,
                         at->workspace + s->out_at + b * s->out_block + pixel * 16, s->out_block, blocks, width * 16,
                         s->activation, s->other_when, at->weights + s->activation_at);
        }
    }
}

/* A tile of 2x2 pixels is made of 16 sums over the channels, each of products of one number of the 4x4 inputs with one
 * of the 3x3 weights: 16 convolutions of one pixel, with 4 products a pixel instead of 9. Weights: for each of the 16
 * those of a conv. Scratch, for `chunk` tiles: rows of a block's input, the inputs' numbers, the sums of a group of
 * blocks, its pixels. */
static TARGET void NAME(winograd)(const ConvnetStep *s, const ConvnetBuffers *at)
{
    const ptrdiff_t parts = (s->in_channels + 15) / 16, out_blocks = (s->out_channels + 15) / 16;
    const ptrdiff_t across = (s->out_width + 1) / 2, tiles = across * ((s->out_height + 1) / 2);
    const ptrdiff_t products = s->in_channels * out_blocks * 16;
    float *rows = at->workspace + s->scratch_at;
    float *numbers = rows + 4 * (2 * s->chunk + 2) * 16;
    float *sums = numbers + 16 * parts * s->chunk * 16;
    float *pixels = sums + 16 * s->group * s->chunk * 16;
    const float none[CONVNET_MAX_TILE_BLOCKS * 16] = {0};
    float tile[CONVNET_MAX_TILE_BLOCKS * CONVNET_MAX_TILE_PIXELS * 16] __attribute__((aligned(64)));
    ConvnetSegment segments[CONVNET_MAX_DEPTH / 16];
    for (ptrdiff_t first = 0; first < tiles; first += s->chunk) {
        const ptrdiff_t count = tiles - first < s->chunk ? tiles - first : s->chunk, one = count * 16;
        for (ptrdiff_t i = 0; i < parts; i++) {
            segments[i].at = i * one;
            segments[i].length = s->in_channels - i * 16 < 16 ? s->in_channels - i * 16 : 16;
            for (ptrdiff_t t = 0, here; t < count; t += here) {
                const ptrdiff_t y = (first + t) / across, x = (first + t) % across;
                here = across - x < count - t ? across - x : count - t;
                NAME(winograd_rows)(s, at->workspace + s->in_at + i * s->in_block, 2 * y - s->pad_top,
                                    2 * x - s->pad_left, here, rows);
                NAME(winograd_input)(rows, here, numbers + i * one + t * 16, parts * one);
            }
        }
        const float *weights = at->weights + s->weights_at;
        for (ptrdiff_t b = 0; b < out_blocks; b += s->group) {
            const ptrdiff_t blocks = out_blocks - b < s->group ? out_blocks - b : s->group;
            for (int n = 0; n < 16; n++)
                for (ptrdiff_t x = 0, done; x < count; x += done) {
                    done = NAME(tile)(blocks, weights + n * products, none, numbers + n * parts * one + x * 16,
                                      segments, parts, 16, 0, count - x, tile);
                    for (ptrdiff_t i = 0; i < blocks; i++)
                        memcpy(sums + (n * blocks + i) * one + x * 16, tile + i * done * 16,
                               sizeof(float) * (size_t)(done * 16));
                }
            NAME(winograd_finish)(s, at, b, blocks, first, count, sums, pixels);
            weights += s->in_channels * blocks * 16;
        }
    }
}

/* ---- depthwise convolution ---- */

/* `pixels` neighbours of one block whose window lies inside the row; rows ky of the kernel from first to end. */
CONVNET_INLINE TARGET void NAME(depthwise_tile)(const float *weights, const float *bias, const float *input,
                                                ptrdiff_t row, ptrdiff_t step, ptrdiff_t first, ptrdiff_t end,
                                                ptrdiff_t kernel_width, const int pixels, float *out)
{
#pragma GCC unroll 2
    for (int part = 0; part < PARTS; part++) {
        VECTOR sum[8];
#pragma GCC unroll 32
        for (int p = 0; p < pixels; p++)
            sum[p] = LOAD(bias + part * LANES);
        for (ptrdiff_t ky = first; ky < end; ky++) {
            const float *from = input + ky * row + part * LANES;
            const float *w = weights + ky * kernel_width * 16 + part * LANES;
            for (ptrdiff_t kx = 0; kx < kernel_width; kx++, from += 16, w += 16) {
                const VECTOR weight = LOAD(w);
#pragma GCC unroll 32
                for (int p = 0; p < pixels; p++)
                    sum[p] = FMA(weight, LOAD(from + p * step), sum[p]);
            }
        }
#pragma GCC unroll 32
        for (int p = 0; p < pixels; p++)
            STORE(out + p * 16 + part * LANES, sum[p]);
    }
}

#define CONVNET_DEPTHWISE_ARGUMENTS weights, bias, input, row, step, first, end

static TARGET void NAME(depthwise_8)(const float *weights, const float *bias, const float *input, ptrdiff_t row,
                                     ptrdiff_t step, ptrdiff_t first, ptrdiff_t end, ptrdiff_t kernel_width, float *out)
{
    if (kernel_width == 3 && step == 16)
        NAME(depthwise_tile)(weights, bias, input, row, 16, first, end, 3, 8, out);
    else if (kernel_width == 5 && step == 16)
        NAME(depthwise_tile)(weights, bias, input, row, 16, first, end, 5, 8, out);
    else if (kernel_width == 3 && step == 32)
        NAME(depthwise_tile)(weights, bias, input, row, 32, first, end, 3, 8, out);
    else
        NAME(depthwise_tile)(weights, bias, input, row, step, first, end, kernel_width, 8, out);
}

static TARGET void NAME(depthwise_1)(const float *weights, const float *bias, const float *input, ptrdiff_t row,
                                     ptrdiff_t first, ptrdiff_t end, ptrdiff_t from, ptrdiff_t to, ptrdiff_t kernel,
                                     float *out)
{
    for (int part = 0; part < 16; part += LANES) {
        VECTOR sum = LOAD(bias + part);
        for (ptrdiff_t ky = first; ky < end; ky++)
            for (ptrdiff_t kx = from; kx < to; kx++)
                sum = FMA(LOAD(weights + (ky * kernel + kx) * 16 + part), LOAD(input + ky * row + kx * 16 + part), sum);
        STORE(out + part, sum);
    }
}

static TARGET void NAME(depthwise)(const ConvnetStep *s, const ConvnetBuffers *at)
{
    const ptrdiff_t blocks = (s->out_channels + 15) / 16, kernel = s->kernel_width, row = s->in_width * 16;
    const ptrdiff_t step = s->stride_width * 16;
    /* Columns low <= x < high have their whole window inside the row. */
    ptrdiff_t low = (s->pad_left + s->stride_width - 1) / s->stride_width;
    low = low < s->out_width ? low : s->out_width;
    const ptrdiff_t room = s->in_width + s->pad_left - kernel;
    ptrdiff_t high = room < 0 ? 0 : room / s->stride_width + 1;
    high = high < s->out_width ? high : s->out_width;
    high = high > low ? high : low;
    for (ptrdiff_t b = 0; b < blocks; b++) {
        const float *input = at->workspace + s->in_at + b * s->in_block;
        const float *weights = at->weights + s->weights_at + b * s->kernel_height * kernel * 16;
        const float *bias = at->weights + s->bias_at + b * 16;
        for (ptrdiff_t y = 0; y < s->out_height; y++) {
            const ptrdiff_t top = y * s->stride_height - s->pad_top;
            const ptrdiff_t first = top < 0 ? -top : 0;
            const ptrdiff_t end = s->in_height - top < s->kernel_height ? s->in_height - top : s->kernel_height;
            const ptrdiff_t pixel = y * s->out_width * 16;
            float *out = at->workspace + s->out_at + b * s->out_block + pixel;
            const float *corner = input + top * row - s->pad_left * 16;
            for (ptrdiff_t x = 0; x < s->out_width;) {
                if (x >= low && x < high && high - low >= 8) {
                    x = x + 8 <= high ? x : high - 8; /* the last tile computes some again */
                    NAME(depthwise_8)(weights, bias, corner + x * step, row, step, first, end, kernel, out + x * 16);
                    x += 8;
                    continue;
                }
                const ptrdiff_t left = x * s->stride_width - s->pad_left;
                const ptrdiff_t to = s->in_width - left < kernel ? s->in_width - left : kernel;
                NAME(depthwise_1)(weights, bias, corner + x * step, row, first, end, left < 0 ? -left : 0, to, kernel,
                                  out + x * 16);
                x++;
            }
            NAME(finish)(out, 0, at->workspace + s->other_at + b * s->other_block + pixel, 0, out, 0, 1,
                         s->out_width * 16, s->activation, s->other_when, at->weights + s->activation_at);
        }
    }
}

/* ---- the rest ---- */

/* The maximum down the columns of a window first, into a line of the scratch, then along it. */
static TARGET void NAME(max_pool)(const ConvnetStep *s, const ConvnetBuffers *at)
{
    const ptrdiff_t blocks = (s->out_channels + 15) / 16, row = s->in_width * 16;
    const ptrdiff_t width = (s->out_width - 1) * s->stride_width + s->kernel_width;
    const ptrdiff_t here = width - s->pad_left < s->in_width ? width - s->pad_left : s->in_width;
    float *line = at->workspace + s->scratch_at;
    const VECTOR lowest = ALL(-__builtin_inff());
    for (ptrdiff_t i = 0; i < width * 16; i += LANES)
        STORE(line + i, lowest);
    for (ptrdiff_t b = 0; b < blocks; b++)
        for (ptrdiff_t y = 0; y < s->out_height; y++) {
            const ptrdiff_t top = y * s->stride_height - s->pad_top;
            const ptrdiff_t first = top < 0 ? 0 : top;
            const ptrdiff_t end = top + s->kernel_height < s->in_height ? top + s->kernel_height : s->in_height;
            const float *input = at->workspace + s->in_at + b * s->in_block;
            for (ptrdiff_t i = 0; i < here * 16; i += LANES) {
                VECTOR most = lowest;
                for (ptrdiff_t iy = first; iy < end; iy++)
                    most = MAX(most, LOAD(input + iy * row + i));
                STORE(line + s->pad_left * 16 + i, most);
            }
            float *out = at->workspace + s->out_at + b * s->out_block + y * s->out_width * 16;
            for (ptrdiff_t x = 0; x < s->out_width; x++)
                for (int part = 0; part < 16; part += LANES) {
                    const float *from = line + x * s->stride_width * 16 + part;
                    VECTOR most = LOAD(from);
                    for (ptrdiff_t kx = 1; kx < s->kernel_width; kx++)
                        most = MAX(most, LOAD(from + kx * 16));
                    STORE(out + x * 16 + part, most);
                }
        }
}

/* Each pixel stride_height x stride_width times. */
static TARGET void NAME(upsample)(const ConvnetStep *s, const ConvnetBuffers *at)
{
    const ptrdiff_t blocks = (s->out_channels + 15) / 16;
    for (ptrdiff_t b = 0; b < blocks; b++)
        for (ptrdiff_t y = 0; y < s->in_height; y++) {
            const float *from = at->workspace + s->in_at + b * s->in_block + y * s->in_width * 16;
            float *out = at->workspace + s->out_at + b * s->out_block + y * s->stride_height * s->out_width * 16;
            for (ptrdiff_t x = 0; x < s->in_width; x++)
                for (int part = 0; part < 16; part += LANES) {
                    const VECTOR value = LOAD(from + x * 16 + part);
                    for (ptrdiff_t i = 0; i < s->stride_width; i++)
                        STORE(out + (x * s->stride_width + i) * 16 + part, value);
                }
            for (ptrdiff_t i = 1; i < s->stride_height; i++)
                memcpy(out + i * s->out_width * 16, out, sizeof(float) * (size_t)(s->out_width * 16));
        }
}

static TARGET void NAME(elementwise)(const ConvnetStep *s, const ConvnetBuffers *at)
{
    NAME(finish)(at->workspace + s->in_at, s->in_block, at->workspace + s->other_at, s->other_block,
                 at->workspace + s->out_at, s->out_block, (s->out_channels + 15) / 16,
                 s->out_height * s->out_width * 16, s->activation, s->other_when, at->weights + s->activation_at);
}

/* All channels, to channel `channel` and on of a larger tensor. */
static TARGET void NAME(copy)(const ConvnetStep *s, const ConvnetBuffers *at)
{
    const ptrdiff_t pixels = s->in_height * s->in_width;
    for (ptrdiff_t c = 0; c < s->in_channels;) {
        const ptrdiff_t to = s->channel + c;
        const float *from = at->workspace + s->in_at + c / 16 * s->in_block + c % 16;
        float *out = at->workspace + s->out_at + to / 16 * s->out_block + to % 16;
        ptrdiff_t n = 16 - (c % 16 > to % 16 ? c % 16 : to % 16);
        n = n < s->in_channels - c ? n : s->in_channels - c;
        for (ptrdiff_t p = 0; p < pixels; p++)
            for (ptrdiff_t i = 0; i < n; i++)
                out[p * 16 + i] = from[p * 16 + i];
        c += n;
    }
}

/* Channels `channel` to `channel + out_channels` of a tensor to columns of the output's rows. */
static TARGET void NAME(store)(const ConvnetStep *s, const ConvnetBuffers *at)
{
    const ptrdiff_t pixels = s->in_height * s->in_width;
    float pixel[16] __attribute__((aligned(64)));
    for (ptrdiff_t done = 0, n; done < s->out_channels; done += n) {
        const ptrdiff_t c = s->channel + done;
        n = 16 - c % 16 < s->out_channels - done ? 16 - c % 16 : s->out_channels - done;
        const float *from = at->workspace + s->in_at + c / 16 * s->in_block;
        float *out = at->output + s->out_at + done;
        for (ptrdiff_t p = 0; p < pixels; p++) {
            NAME(finish)(from + p * 16, 0, pixel, 0, pixel, 0, 1, 16, s->activation, CONVNET_NO_OTHER,
                         at->weights + s->activation_at);
            for (ptrdiff_t i = 0; i < n; i++)
                out[p * s->row_length + i] = pixel[c % 16 + i];
        }
    }
}

/* ---- attention ---- */

/* Scores of a query in place, `padded` of which `pixels` count: exp(factor * (score - the largest)) over their sum. */
static TARGET void NAME(softmax)(float *scores, ptrdiff_t pixels, ptrdiff_t padded, float factor)
{
    float lane[LANES], largest, total = 0.0f;
    VECTOR most = ALL(-3e38f), sum = ALL(0.0f);
    for (ptrdiff_t i = 0; i < pixels; i++)
        scores[i] *= factor;
    for (ptrdiff_t i = pixels; i < padded; i++)
        scores[i] = -3e38f; /* what is left of it in the sum is below its last bit */
    for (ptrdiff_t i = 0; i < padded; i += LANES)
        most = MAX(most, LOAD(scores + i));
    STORE(lane, most);
    largest = lane[0];
    for (int i = 1; i < LANES; i++)
        largest = lane[i] > largest ? lane[i] : largest;
    most = ALL(largest);
    for (ptrdiff_t i = 0; i < padded; i += LANES) {
        const VECTOR chance = NAME(exp_minus)(SUB(most, LOAD(scores + i)));
        sum = ADD(sum, chance);
        STORE(scores + i, chance);
    }
    STORE(lane, sum);
    for (int i = 0; i < LANES; i++)
        total += lane[i];
    const VECTOR inverse = ALL(1.0f / total);
    for (ptrdiff_t i = 0; i < padded; i += LANES)
        STORE(scores + i, MUL(LOAD(scores + i), inverse));
}

/* out = softmax(factor * queries * keys) * values, over all pixels, head by head. A head's channels are whole blocks.
 *
 * Both products are tiles of a convolution of one pixel: the weights of the first are the keys, turned, those of the
 * second the values. Scratch: keys, values and the scores of CONVNET_ATTENTION_ROWS queries. */
static TARGET void NAME(attention)(const ConvnetStep *s, const ConvnetBuffers *at)
{
    const ptrdiff_t pixels = s->in_height * s->in_width, key_blocks = (pixels + 15) / 16, padded = key_blocks * 16;
    const ptrdiff_t depth = s->in_channels / s->heads, width = s->out_channels / s->heads;
    float *keys = at->workspace + s->scratch_at;
    float *values = keys + depth * padded;
    float *scores = values + width * pixels;
    const float none[CONVNET_MAX_TILE_BLOCKS * 16] = {0};
    float tile[CONVNET_MAX_TILE_BLOCKS * CONVNET_MAX_TILE_PIXELS * 16] __attribute__((aligned(64)));
    ConvnetSegment segments[CONVNET_MAX_DEPTH / 16];
    const ConvnetSegment all = {0, pixels};
    for (ptrdiff_t i = 0; i < depth / 16; i++) {
        segments[i].at = i * s->in_block;
        segments[i].length = 16;
    }
    for (ptrdiff_t h = 0; h < s->heads; h++) {
        const float *query = at->workspace + s->in_at + h * (depth / 16) * s->in_block;
        const float *key = at->workspace + s->other_at + h * (depth / 16) * s->other_block;
        const float *value = at->workspace + s->third_at + h * (width / 16) * s->third_block;
        float *out = at->workspace + s->out_at + h * (width / 16) * s->out_block;
        float *to = keys;
        for (ptrdiff_t b = 0; b < key_blocks; b += s->group) {
            const ptrdiff_t blocks = key_blocks - b < s->group ? key_blocks - b : s->group, lanes = blocks * 16;
            const ptrdiff_t here = pixels - b * 16 < lanes ? pixels - b * 16 : lanes;
            for (ptrdiff_t c = 0; c < depth; c++, to += lanes) {
                const float *from = key + c / 16 * s->other_block + b * 256 + c % 16;
                for (ptrdiff_t j = 0; j < here; j++)
                    to[j] = from[j * 16];
                for (ptrdiff_t j = here; j < lanes; j++)
                    to[j] = 0.0f;
            }
        }
        to = values;
        for (ptrdiff_t b = 0; b < width / 16; b += s->group) {
            const ptrdiff_t blocks = width / 16 - b < s->group ? width / 16 - b : s->group;
            for (ptrdiff_t j = 0; j < pixels; j++)
                for (ptrdiff_t i = 0; i < blocks; i++, to += 16)
                    memcpy(to, value + (b + i) * s->third_block + j * 16, 16 * sizeof(float));
        }
        for (ptrdiff_t first = 0; first < pixels; first += CONVNET_ATTENTION_ROWS) {
            const ptrdiff_t rows = pixels - first < CONVNET_ATTENTION_ROWS ? pixels - first : CONVNET_ATTENTION_ROWS;
            const float *weights = keys;
            for (ptrdiff_t b = 0; b < key_blocks; b += s->group) {
                const ptrdiff_t blocks = key_blocks - b < s->group ? key_blocks - b : s->group;
                for (ptrdiff_t x = 0, done; x < rows; x += done) {
                    done = NAME(tile)(blocks, weights, none, query + (first + x) * 16, segments, depth / 16, 16, 0,
                                      rows - x, tile);
                    for (ptrdiff_t i = 0; i < blocks; i++)
                        for (ptrdiff_t p = 0; p < done; p++)
                            memcpy(scores + (x + p) * padded + (b + i) * 16, tile + (i * done + p) * 16,
                                   16 * sizeof(float));
                }
                weights += depth * blocks * 16;
            }
            for (ptrdiff_t x = 0; x < rows; x++)
                NAME(softmax)(scores + x * padded, pixels, padded, at->weights[s->activation_at]);
            weights = values;
            for (ptrdiff_t b = 0; b < width / 16; b += s->group) {
                const ptrdiff_t blocks = width / 16 - b < s->group ? width / 16 - b : s->group;
                for (ptrdiff_t x = 0, done; x < rows; x += done) {
                    done = NAME(tile)(blocks, weights, none, scores + x * padded, &all, 1, padded, 0, rows - x, tile);
                    for (ptrdiff_t i = 0; i < blocks; i++)
                        memcpy(out + (b + i) * s->out_block + (first + x) * 16, tile + i * done * 16,
                               (size_t)done * 16 * sizeof(float));
                }
                weights += pixels * blocks * 16;
            }
        }
    }
}

/* ---- means of distributions ---- */

/* The largest, and the sum, of a vector's lanes, in all of them. */
#ifdef CONVNET_512
#define CONVNET_ACROSS(name, OP)                                                                                       \
    CONVNET_INLINE TARGET VECTOR NAME(name)(VECTOR x)                                                                  \
    {                                                                                                                  \
        x = OP(x, _mm512_shuffle_f32x4(x, x, 0x4e));                                                                   \
        x = OP(x, _mm512_shuffle_f32x4(x, x, 0xb1));                                                                   \
        x = OP(x, _mm512_permute_ps(x, 0x4e));                                                                         \
        return OP(x, _mm512_permute_ps(x, 0xb1));                                                                      \
    }
#else
#define CONVNET_ACROSS(name, OP)                                                                                       \
    CONVNET_INLINE TARGET VECTOR NAME(name)(VECTOR x)                                                                  \
    {                                                                                                                  \
        x = OP(x, _mm256_permute2f128_ps(x, x, 1));                                                                    \
        x = OP(x, _mm256_permute_ps(x, 0x4e));                                                                         \
        return OP(x, _mm256_permute_ps(x, 0xb1));                                                                      \
    }
#endif
CONVNET_ACROSS(largest, MAX)
CONVNET_ACROSS(total, ADD)

/* sum(weight * exp(value)) / sum(exp(value)) over `count` bins, a multiple of 16. */
static TARGET float NAME(mean_of_bins)(const float *from, const float *weights, ptrdiff_t count)
{
    VECTOR most = LOAD(from), sum = ALL(0.0f), weighted = ALL(0.0f);
    for (ptrdiff_t i = LANES; i < count; i += LANES)
        most = MAX(most, LOAD(from + i));
    most = NAME(largest)(most);
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        const VECTOR chance = NAME(exp_minus)(SUB(most, LOAD(from + i)));
        sum = ADD(sum, chance);
        weighted = FMA(chance, LOAD(weights + i), weighted);
    }
    float lanes[2][LANES];
    STORE(lanes[0], NAME(total)(weighted));
    STORE(lanes[1], NAME(total)(sum));
    return lanes[0][0] / lanes[1][0];
}

static TARGET void NAME(convnet_step)(const ConvnetStep *s, const ConvnetBuffers *at)
{
    switch (s->kind) {
    case CONVNET_CONV:
        NAME(conv)(s, at);
        break;
    case CONVNET_DEPTHWISE:
        NAME(depthwise)(s, at);
        break;
    case CONVNET_MAX_POOL:
        NAME(max_pool)(s, at);
        break;
    case CONVNET_UPSAMPLE:
        NAME(upsample)(s, at);
        break;
    case CONVNET_ELEMENTWISE:
        NAME(elementwise)(s, at);
        break;
    case CONVNET_COPY:
        NAME(copy)(s, at);
        break;
    case CONVNET_ATTENTION:
        NAME(attention)(s, at);
        break;
    case CONVNET_WINOGRAD:
        NAME(winograd)(s, at);
        break;
    default:
        NAME(store)(s, at);
    }
}

#undef VECTOR
#undef LANES
#undef LOAD
#undef STORE
#undef ALL
#undef ADD
#undef SUB
#undef CONVNET_EXP_MINUS
#undef MUL
#undef FMA
#undef FNMA
#undef MIN
#undef MAX
#undef PARTS
#undef CONVNET_ACROSS
#undef CONVNET_EACH
#undef CONVNET_ROWS
#undef CONVNET_ACCUMULATE
#undef CONVNET_SLOW
#undef CONVNET_FAST
#undef CONVNET_TILE_ARGUMENTS
#undef CONVNET_DEPTHWISE_ARGUMENTS
