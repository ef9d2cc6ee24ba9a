/* A convolution in bfloat16: the input is rounded row by row on its way into the scratch, sums and results stay float32.
 * Included by convnet.h, after the kernels for AVX-512, which put a tile and make Winograd's numbers and pixels.
 *
 * Of the input the scratch has 32 channels of a pixel together, of the weights 32 channels (as 16 pairs) for 16 channels
 * of the output. Two kernels read that: `convnet_dot_row` here, with the instruction of AVX-512 that adds the products of
 * a pair, and the one of convnet_amx.h.
 */
#include <cpuid.h>

#define CONVNET_BF16_TARGET __attribute__((target("avx2,fma,avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")))

/* Output pixels first <= x < end of row y, whose input begins at rows[ky] with pixel `first`; `span` pixels are in a row
 * of the scratch. */
typedef void ConvnetBf16Row(const ConvnetStep *s, const ConvnetBuffers *at, const uint16_t *const *rows, int64_t span,
                            int64_t y, int64_t first, int64_t end);

/* The lanes of a block that are channels, if `left` are left from its first one on. */
static inline __mmask16 convnet_lanes(int64_t left)
{
    return left >= 16 ? 0xffff : left > 0 ? (__mmask16)((1u << left) - 1) : 0;
}

/* `count` pixels of all channels, rounded: [part of 32 channels][span][32]. Lanes above the last channel become 0, for
 * they may hold what no weight of 0 makes 0. */
static CONVNET_BF16_TARGET void convnet_round(const float *from, int64_t block, int64_t channels, int64_t count,
                                             int64_t span, uint16_t *to)
{
    for (int64_t c = 0; c < channels; c += 32, from += 2 * block, to += span * 32) {
        const int64_t left = channels - c;
        const __mmask16 low = convnet_lanes(left), high = convnet_lanes(left - 16);
        const float *next = left > 16 ? from + block : from;
        for (int64_t p = 0; p < count; p++)
            _mm512_storeu_si512(to + p * 32, (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, next + p * 16),
                                                                          _mm512_maskz_loadu_ps(low, from + p * 16)));
    }
}

/* A row of the input, or zeros, into its slot of the ring, padded left and right. */
static CONVNET_BF16_TARGET void convnet_round_row(const ConvnetStep *s, const ConvnetBuffers *at, int64_t y,
                                                 int64_t span, uint16_t *slot)
{
    const int64_t parts = (s->in_channels + 31) / 32;
    const int64_t here = span - s->pad_left < s->in_width ? span - s->pad_left : s->in_width;
    if (y < 0 || y >= s->in_height || here < 0) {
        memset(slot, 0, (size_t)(parts * span * 64));
        return;
    }
    for (int64_t i = 0; i < parts; i++) {
        memset(slot + i * span * 32, 0, (size_t)(s->pad_left * 64));
        memset(slot + (i * span + s->pad_left + here) * 32, 0, (size_t)((span - s->pad_left - here) * 64));
    }
    convnet_round(at->workspace + s->in_at + y * s->in_width * 16, s->in_block, s->in_channels, here, span,
                  slot + s->pad_left * 32);
}

/* What the sums of a pixel go over, and the pixels in a row of the scratch. */
typedef struct {
    int64_t height, width, channels, span;
} ConvnetTaps;

/* tile[block][pixel][16] = bias + weights * input, for `pixels` neighbours `step` numbers apart; the first begins `at`
 * numbers into each of the rows. */
CONVNET_INLINE CONVNET_BF16_TARGET void convnet_dot(const ConvnetTaps *taps, const uint16_t *weights, const float *bias,
                                                    const uint16_t *const *rows, int64_t at, const int64_t step,
                                                    const int blocks, const int pixels, float *tile)
{
    const int64_t parts = (taps->channels + 31) / 32, apart = taps->height * taps->width * parts * 512;
    __m512 sum[CONVNET_MAX_TILE_BLOCKS * CONVNET_MAX_TILE_PIXELS];
#pragma GCC unroll 32
    for (int v = 0; v < blocks; v++)
#pragma GCC unroll 32
        for (int p = 0; p < pixels; p++)
            sum[v * pixels + p] = _mm512_loadu_ps(bias + v * 16);
    for (int64_t ky = 0; ky < taps->height; ky++)
        for (int64_t i = 0; i < parts; i++) {
            const int64_t left = taps->channels - i * 32, pairs = left < 32 ? (left + 1) / 2 : 16;
            const uint16_t *tap = rows[ky] + i * taps->span * 32 + at;
            for (int64_t kx = 0; kx < taps->width; kx++, tap += 32, weights += 512) {
                const uint16_t *from = tap, *row = weights;
                for (const uint16_t *end = tap + pairs * 2; from < end; from += 2, row += 32) {
                    __m512bh w[CONVNET_MAX_TILE_BLOCKS];
#pragma GCC unroll 32
                    for (int v = 0; v < blocks; v++)
                        w[v] = (__m512bh)_mm512_loadu_si512(row + v * apart);
#pragma GCC unroll 32
                    for (int p = 0; p < pixels; p++) {
                        int32_t pair;
                        memcpy(&pair, from + p * step, sizeof(pair));
                        const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 32
                        for (int v = 0; v < blocks; v++)
                            sum[v * pixels + p] = _mm512_dpbf16_ps(sum[v * pixels + p], w[v], x);
                    }
                }
            }
        }
#pragma GCC unroll 32
    for (int v = 0; v < blocks; v++)
#pragma GCC unroll 32
        for (int p = 0; p < pixels; p++)
            _mm512_storeu_ps(tile + (v * pixels + p) * 16, sum[v * pixels + p]);
}

#define CONVNET_DOT(blocks, pixels)                                                                                    \
    case pixels:                                                                                                       \
        if (step == 32)                                                                                                \
            convnet_dot(taps, weights, bias, rows, from, 32, blocks, pixels, tile);                                    \
        else                                                                                                           \
            convnet_dot(taps, weights, bias, rows, from, step, blocks, pixels, tile);                                  \
        break;

#define CONVNET_DOT_ARGUMENTS                                                                                          \
    const ConvnetTaps *taps, const uint16_t *weights, const float *bias, const uint16_t *const *rows, int64_t from,    \
        int64_t step, int64_t pixels, float *tile

static CONVNET_BF16_TARGET void convnet_dot_1(CONVNET_DOT_ARGUMENTS)
{
    switch (pixels) {
        CONVNET_DOT(1, 12)
        CONVNET_DOT(1, 11)
        CONVNET_DOT(1, 10)
        CONVNET_DOT(1, 9)
        CONVNET_DOT(1, 8)
        CONVNET_DOT(1, 7)
        CONVNET_DOT(1, 6)
        CONVNET_DOT(1, 5)
        CONVNET_DOT(1, 4)
        CONVNET_DOT(1, 3)
        CONVNET_DOT(1, 2)
        CONVNET_DOT(1, 1)
    }
}

static CONVNET_BF16_TARGET void convnet_dot_2(CONVNET_DOT_ARGUMENTS)
{
    switch (pixels) {
        CONVNET_DOT(2, 12)
        CONVNET_DOT(2, 11)
        CONVNET_DOT(2, 10)
        CONVNET_DOT(2, 9)
        CONVNET_DOT(2, 8)
        CONVNET_DOT(2, 7)
        CONVNET_DOT(2, 6)
        CONVNET_DOT(2, 5)
        CONVNET_DOT(2, 4)
        CONVNET_DOT(2, 3)
        CONVNET_DOT(2, 2)
        CONVNET_DOT(2, 1)
    }
}

static CONVNET_BF16_TARGET void convnet_dot_3(CONVNET_DOT_ARGUMENTS)
{
    switch (pixels) {
        CONVNET_DOT(3, 8)
        CONVNET_DOT(3, 7)
        CONVNET_DOT(3, 6)
        CONVNET_DOT(3, 5)
        CONVNET_DOT(3, 4)
        CONVNET_DOT(3, 3)
        CONVNET_DOT(3, 2)
        CONVNET_DOT(3, 1)
    }
}

static CONVNET_BF16_TARGET void convnet_dot_4(CONVNET_DOT_ARGUMENTS)
{
    switch (pixels) {
        CONVNET_DOT(4, 6)
        CONVNET_DOT(4, 5)
        CONVNET_DOT(4, 4)
        CONVNET_DOT(4, 3)
        CONVNET_DOT(4, 2)
        CONVNET_DOT(4, 1)
    }
}

/* As `tile_avx512`. */
static CONVNET_BF16_TARGET int64_t convnet_dot_tile(int64_t blocks, CONVNET_DOT_ARGUMENTS)
{
    pixels = convnet_even_tile(pixels, max_tile_pixels_avx512[blocks]);
    if (blocks == 4)
        convnet_dot_4(taps, weights, bias, rows, from, step, pixels, tile);
    else if (blocks == 3)
        convnet_dot_3(taps, weights, bias, rows, from, step, pixels, tile);
    else if (blocks == 2)
        convnet_dot_2(taps, weights, bias, rows, from, step, pixels, tile);
    else
        convnet_dot_1(taps, weights, bias, rows, from, step, pixels, tile);
    return pixels;
}

static CONVNET_BF16_TARGET void convnet_dot_row(const ConvnetStep *s, const ConvnetBuffers *at,
                                                const uint16_t *const *rows, int64_t span, int64_t y, int64_t first,
                                                int64_t end)
{
    const ConvnetTaps taps = {s->kernel_height, s->kernel_width, s->in_channels, span};
    const int64_t out_blocks = (s->out_channels + 15) / 16, step = s->stride_width * 32;
    const int64_t products = s->kernel_height * s->kernel_width * ((s->in_channels + 31) / 32) * 512;
    float tile[CONVNET_MAX_TILE_BLOCKS * CONVNET_MAX_TILE_PIXELS * 16] __attribute__((aligned(64)));
    for (int64_t b = 0; b < out_blocks; b += s->group) {
        const int64_t blocks = out_blocks - b < s->group ? out_blocks - b : s->group;
        const uint16_t *weights = (const uint16_t *)(at->weights + s->weights_at) + b * products;
        for (int64_t x = 0, done; x < end - first; x += done) {
            done = convnet_dot_tile(blocks, &taps, weights, at->weights + s->bias_at + b * 16, rows, x * step, step,
                                    end - first - x, tile);
            put_tile_avx512(s, at, tile, b, blocks, y * s->out_width + first + x, done);
        }
    }
}

static CONVNET_BF16_TARGET void convnet_conv_bf16(const ConvnetStep *s, const ConvnetBuffers *at, ConvnetBf16Row *row)
{
    const int64_t parts = (s->in_channels + 31) / 32;
    const int64_t width = (s->out_width - 1) * s->stride_width + s->kernel_width; /* of a padded row */
    uint16_t *scratch = (uint16_t *)(at->workspace + s->scratch_at);
    const uint16_t *rows[CONVNET_BF16_ROWS];
    if (s->kernel_height == 1 && s->kernel_width == 1 && s->stride_width == 1 && s->stride_height == 1) {
        rows[0] = scratch;
        for (int64_t y = 0; y < s->out_height; y++)
            for (int64_t first = 0; first < s->out_width; first += CONVNET_BF16_CHUNK) {
                const int64_t end = first + CONVNET_BF16_CHUNK < s->out_width ? first + CONVNET_BF16_CHUNK : s->out_width;
                convnet_round(at->workspace + s->in_at + (y * s->in_width + first) * 16, s->in_block, s->in_channels,
                              end - first, CONVNET_BF16_CHUNK, scratch);
                row(s, at, rows, CONVNET_BF16_CHUNK, y, first, end);
            }
    } else {
        int64_t filled = 0; /* rows of the padded input that went through the ring */
        for (int64_t y = 0; y < s->out_height; y++) {
            const int64_t top = y * s->stride_height; /* in rows of the padded input */
            for (filled = filled > top ? filled : top; filled < top + s->kernel_height; filled++)
                convnet_round_row(s, at, filled - s->pad_top, width,
                                  scratch + filled % s->kernel_height * parts * width * 32);
            for (int64_t ky = 0; ky < s->kernel_height; ky++)
                rows[ky] = scratch + (top + ky) % s->kernel_height * parts * width * 32;
            row(s, at, rows, width, y, 0, s->out_width);
        }
    }
}

/* ---- the picture ----
 *
 * It has too few channels to fill 32. Its rows stay planes, and a pair is two columns of one. Beside an odd number of
 * columns a weight of 0 meets the next one, which is finite if the picture is.
 */

/* A row of each plane, scaled, or zeros, into its slot of the ring, padded left and right. */
static CONVNET_BF16_TARGET void convnet_round_planes(const ConvnetStep *s, const ConvnetBuffers *at, int64_t y,
                                                    int64_t span, uint16_t *slot)
{
    const int64_t here = span - s->pad_left < s->in_width ? span - s->pad_left : s->in_width;
    memset(slot, 0, sizeof(uint16_t) * (size_t)(s->in_channels * span));
    if (y < 0 || y >= s->in_height)
        return;
    for (int64_t i = 0; i < s->in_channels; i++) {
        const float *from = at->picture + s->in_at + i * s->in_block + y * s->in_width;
        uint16_t *to = slot + i * span + s->pad_left;
        const __m512 factor = _mm512_set1_ps(s->affine_at < 0 ? 1.0f : at->weights[s->affine_at + i]);
        const __m512 summand =
            _mm512_set1_ps(s->affine_at < 0 ? 0.0f : at->weights[s->affine_at + s->in_channels + i]);
        for (int64_t x = 0; x < here; x += 16) {
            const __mmask16 lanes = convnet_lanes(here - x);
            const __m512 value = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, from + x), factor, summand);
            _mm256_mask_storeu_epi16(to + x, lanes, (__m256i)_mm512_cvtneps_pbh(value));
        }
    }
}

/* tile[pixel][16] = bias + weights * input, for a block and `pixels` neighbours `step` numbers apart. Pair i of the first
 * one's columns begins `at` numbers into pairs[i]. */
CONVNET_INLINE CONVNET_BF16_TARGET void convnet_dot_pairs(const uint16_t *weights, const float *bias,
                                                          const uint16_t *const *pairs, int64_t count, int64_t at,
                                                          const int64_t step, const int pixels, float *tile)
{
    __m512 sum[CONVNET_MAX_TILE_PIXELS];
#pragma GCC unroll 32
    for (int p = 0; p < pixels; p++)
        sum[p] = _mm512_loadu_ps(bias);
    for (int64_t i = 0; i < count; i++, weights += 32) {
        const __m512bh w = (__m512bh)_mm512_loadu_si512(weights);
        const uint16_t *from = pairs[i] + at;
#pragma GCC unroll 32
        for (int p = 0; p < pixels; p++) {
            int32_t pair;
            memcpy(&pair, from + p * step, sizeof(pair));
            sum[p] = _mm512_dpbf16_ps(sum[p], w, (__m512bh)_mm512_set1_epi32(pair));
        }
    }
#pragma GCC unroll 32
    for (int p = 0; p < pixels; p++)
        _mm512_storeu_ps(tile + p * 16, sum[p]);
}

#define CONVNET_PAIRS(pixels)                                                                                          \
    case pixels:                                                                                                       \
        if (step == 2)                                                                                                 \
            convnet_dot_pairs(weights, bias, pairs, count, from, 2, pixels, tile);                                     \
        else                                                                                                           \
            convnet_dot_pairs(weights, bias, pairs, count, from, step, pixels, tile);                                  \
        break;

/* As `tile_avx512`, for one block: the loads of a pair's weights are few beside those of its columns. */
static CONVNET_BF16_TARGET int64_t convnet_pairs_tile(const uint16_t *weights, const float *bias,
                                                      const uint16_t *const *pairs, int64_t count, int64_t from,
                                                      int64_t step, int64_t pixels, float *tile)
{
    pixels = convnet_even_tile(pixels, max_tile_pixels_avx512[1]);
    switch (pixels) {
        CONVNET_PAIRS(12)
        CONVNET_PAIRS(11)
        CONVNET_PAIRS(10)
        CONVNET_PAIRS(9)
        CONVNET_PAIRS(8)
        CONVNET_PAIRS(7)
        CONVNET_PAIRS(6)
        CONVNET_PAIRS(5)
        CONVNET_PAIRS(4)
        CONVNET_PAIRS(3)
        CONVNET_PAIRS(2)
        CONVNET_PAIRS(1)
    }
    return pixels;
}

static CONVNET_BF16_TARGET void convnet_picture_bf16(const ConvnetStep *s, const ConvnetBuffers *at)
{
    const int64_t across = (s->kernel_width + 1) / 2; /* pairs in a row of the kernel */
    const int64_t span = (s->out_width - 1) * s->stride_width + 2 * across, slot = s->in_channels * span;
    const int64_t out_blocks = (s->out_channels + 15) / 16;
    uint16_t *scratch = (uint16_t *)(at->workspace + s->scratch_at);
    const uint16_t *pairs[CONVNET_BF16_PAIRS];
    float tile[CONVNET_MAX_TILE_PIXELS * 16] __attribute__((aligned(64)));
    int64_t filled = 0; /* rows of the padded input that went through the ring */
    for (int64_t y = 0; y < s->out_height; y++) {
        const int64_t top = y * s->stride_height; /* in rows of the padded input */
        for (filled = filled > top ? filled : top; filled < top + s->kernel_height; filled++)
            convnet_round_planes(s, at, filled - s->pad_top, span, scratch + filled % s->kernel_height * slot);
        int64_t count = 0;
        for (int64_t ky = 0; ky < s->kernel_height; ky++)
            for (int64_t i = 0; i < s->in_channels; i++)
                for (int64_t x = 0; x < across; x++)
                    pairs[count++] = scratch + (top + ky) % s->kernel_height * slot + i * span + 2 * x;
        for (int64_t b = 0; b < out_blocks; b++) {
            const uint16_t *weights = (const uint16_t *)(at->weights + s->weights_at) + b * count * 32;
            for (int64_t x = 0, done; x < s->out_width; x += done) {
                done = convnet_pairs_tile(weights, at->weights + s->bias_at + b * 16, pairs, count,
                                          x * s->stride_width, s->stride_width, s->out_width - x, tile);
                put_tile_avx512(s, at, tile, b, 1, y * s->out_width + x, done);
            }
        }
    }
}

/* ---- Winograd's F(2x2, 3x3), as in convnet_kernels.h ---- */

/* The numbers of tiles for two blocks of channels, rounded: number i of tile t at `to + i * apart + t * 32`. `low` has
 * the rows of the first block, `high` those of the second; `left` channels are left from the first one on. */
static CONVNET_BF16_TARGET void convnet_winograd_round(const float *low, const float *high, int64_t left, int64_t tiles,
                                                       uint16_t *to, int64_t apart)
{
    const __mmask16 low_mask = convnet_lanes(left), high_mask = convnet_lanes(left - 16);
    for (int64_t t = 0; t < tiles; t++, low += 32, high += 32, to += 32) {
        __m512 first[16], second[16];
        winograd_numbers_avx512(low, 2 * tiles + 2, first);
        winograd_numbers_avx512(high, 2 * tiles + 2, second);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            _mm512_storeu_si512(to + i * apart, (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_mov_ps(high_mask, second[i]),
                                                                             _mm512_maskz_mov_ps(low_mask, first[i])));
    }
}

/* Scratch, for `chunk` tiles: rows of two blocks' input, the inputs' numbers, the sums of a group of blocks, its
 * pixels. */
static CONVNET_BF16_TARGET void convnet_winograd_bf16(const ConvnetStep *s, const ConvnetBuffers *at)
{
    const int64_t parts = (s->in_channels + 31) / 32, out_blocks = (s->out_channels + 15) / 16;
    const int64_t across = (s->out_width + 1) / 2, tiles = across * ((s->out_height + 1) / 2);
    float *low = at->workspace + s->scratch_at, *high = low + 4 * (2 * s->chunk + 2) * 16;
    uint16_t *numbers = (uint16_t *)(high + 4 * (2 * s->chunk + 2) * 16);
    float *sums = (float *)(numbers + 16 * parts * s->chunk * 32);
    float *pixels = sums + 16 * s->group * s->chunk * 16;
    const float none[CONVNET_MAX_TILE_BLOCKS * 16] = {0};
    float tile[CONVNET_MAX_TILE_BLOCKS * CONVNET_MAX_TILE_PIXELS * 16] __attribute__((aligned(64)));
    for (int64_t first = 0; first < tiles; first += s->chunk) {
        const int64_t count = tiles - first < s->chunk ? tiles - first : s->chunk;
        const ConvnetTaps taps = {1, 1, s->in_channels, count};
        for (int64_t i = 0; i < parts; i++) {
            const int64_t left = s->in_channels - i * 32;
            const float *input = at->workspace + s->in_at + 2 * i * s->in_block;
            for (int64_t t = 0, here; t < count; t += here) {
                const int64_t y = (first + t) / across * 2 - s->pad_top, x = (first + t) % across;
                here = across - x < count - t ? across - x : count - t;
                winograd_rows_avx512(s, input, y, 2 * x - s->pad_left, here, low);
                if (left > 16)
                    winograd_rows_avx512(s, input + s->in_block, y, 2 * x - s->pad_left, here, high);
                convnet_winograd_round(low, left > 16 ? high : low, left, here, numbers + (i * count + t) * 32,
                                       parts * count * 32);
            }
        }
        for (int64_t b = 0; b < out_blocks; b += s->group) {
            const int64_t blocks = out_blocks - b < s->group ? out_blocks - b : s->group;
            for (int n = 0; n < 16; n++) {
                const uint16_t *rows[1] = {numbers + n * parts * count * 32};
                const uint16_t *weights = (const uint16_t *)(at->weights + s->weights_at) +
                                          (n * out_blocks + b) * parts * 512;
                for (int64_t x = 0, done; x < count; x += done) {
                    done = convnet_dot_tile(blocks, &taps, weights, none, rows, x * 32, 32, count - x, tile);
                    for (int64_t i = 0; i < blocks; i++)
                        memcpy(sums + ((n * blocks + i) * count + x) * 16, tile + i * done * 16,
                               sizeof(float) * (size_t)(done * 16));
                }
            }
            winograd_finish_avx512(s, at, b, blocks, first, count, sums, pixels);
        }
    }
}

static inline int convnet_has_dot(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}
