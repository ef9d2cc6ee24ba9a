/* A frame's planes -> the model's input tensor: resized, padded, coloured, scaled, in the model's layout and precision.
 *
 * One thread an output pixel; one launch a frame, into its slot of the batch. The arithmetic is that of
 * engine_ext/letterbox_rows.h, to the bit: a sample is a short with 7 fractional bits, a weight a short with 15,
 * negative; the float part has one rounding an operation, which the __f*_rn functions keep from being fused.
 *
 * No header is included, so that NVRTC needs none. A C++ compiler takes the file too, behind a header that stands in
 * for CUDA: the tests run every thread on the CPU.
 */
#define LETTERBOX_FRACTION 7

/* One of the three components that a pixel is made of. */
struct LetterboxSample {
    const unsigned char *data; /* the component's first byte */
    long long stride;          /* bytes from a row to the next */
    int step;                  /* bytes from a pixel to its right neighbour; 0 in a plane one pixel wide */
    int table;                 /* which tables it is sampled by: 0 those of the frame's own size, 1 those of chroma */
};

/* Field by field the `JOB` of letterbox_job.py. Tables: (2, w) of columns, as byte offsets, and (2, h) of rows. */
struct LetterboxJob {
    LetterboxSample sample[3];
    const int *x_at;
    const int *y_at;
    const short *x_weight;
    const short *y_weight;
    void *out; /* (3, dst_h, dst_w) */
    int samples; /* 1: gray, 3: all others */
    int dst_w, dst_h;
    int left, top, w, h; /* where the image lies in the tensor */
    int zero[3];
    float weight[3][3];
    float bias[3], low[3], high[3], fill[3];
};

static_assert(sizeof(LetterboxJob) == 240, "LetterboxJob is not the JOB of letterbox_job.py");

static __device__ __forceinline__ int letterbox_mix(int first, int second, int weight)
{
    return first + ((((first - second) * weight >> 14) + 1) >> 1);
}

/* A component at the columns and rows that an output pixel lies between. */
static __device__ __forceinline__ int letterbox_sample(const LetterboxJob &job, const LetterboxSample &sample, int x,
                                                       int y)
{
    const int column = job.x_at[sample.table * job.w + x], x_weight = job.x_weight[sample.table * job.w + x];
    const int row = job.y_at[sample.table * job.h + y], y_weight = job.y_weight[sample.table * job.h + y];
    const unsigned char *upper = sample.data + row * sample.stride + column;
    const unsigned char *lower = y_weight ? upper + sample.stride : upper; /* below the last row there is none */
    const int above = letterbox_mix(upper[0] << LETTERBOX_FRACTION, upper[sample.step] << LETTERBOX_FRACTION, x_weight);
    const int below = letterbox_mix(lower[0] << LETTERBOX_FRACTION, lower[sample.step] << LETTERBOX_FRACTION, x_weight);
    return letterbox_mix(above, below, y_weight);
}

static __device__ __forceinline__ void letterbox_put(float *out, float value)
{
    *out = value;
}

/* Finite values up to 65504 to the bits of a half, to nearest, ties to even. */
static __device__ __forceinline__ void letterbox_put(unsigned short *out, float value)
{
    const unsigned int bits = __float_as_uint(value);
    const unsigned int magnitude = bits & 0x7fffffff;
    /* A subnormal half counts units of 2**-24, which is what the last place of 0.5f + x counts. */
    const unsigned int subnormal = __float_as_uint(__fadd_rn(__uint_as_float(magnitude), 0.5f)) - 0x3f000000;
    const unsigned int normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - 0x38000000) >> 13;
    *out = (unsigned short)((bits >> 16 & 0x8000) | (magnitude < 0x38800000 ? subnormal : normal));
}

static __device__ __forceinline__ void letterbox_put(unsigned char *out, float value)
{
    *out = (unsigned char)(int)__fadd_rn(value, 0.5f);
}

template <typename Number> static __device__ __forceinline__ void letterbox_pixel(const LetterboxJob &job)
{
    const int out_x = blockIdx.x * blockDim.x + threadIdx.x, out_y = blockIdx.y * blockDim.y + threadIdx.y;
    if (out_x >= job.dst_w || out_y >= job.dst_h)
        return;
    const long long channel = (long long)job.dst_h * job.dst_w;
    Number *out = (Number *)job.out + (long long)out_y * job.dst_w + out_x;
    const int x = out_x - job.left, y = out_y - job.top;
    if (x < 0 || x >= job.w || y < 0 || y >= job.h) {
        for (int c = 0; c < 3; c++)
            letterbox_put(out + c * channel, job.fill[c]);
        return;
    }
    const int first = letterbox_sample(job, job.sample[0], x, y);
    int second = first, third = first; /* gray: they weigh nothing */
    if (job.samples == 3) {
        second = letterbox_sample(job, job.sample[1], x, y);
        third = letterbox_sample(job, job.sample[2], x, y);
    }
    /* Subtracting the zero first, in integers, makes a neutral chroma add exactly nothing. */
    const float a = (float)(first - job.zero[0]), b = (float)(second - job.zero[1]), d = (float)(third - job.zero[2]);
    for (int c = 0; c < 3; c++) {
        float value = __fadd_rn(__fmul_rn(job.weight[c][0], a), __fmul_rn(job.weight[c][1], b));
        value = __fadd_rn(__fadd_rn(value, __fmul_rn(job.weight[c][2], d)), job.bias[c]);
        value = value > job.low[c] ? value : job.low[c];
        value = value < job.high[c] ? value : job.high[c];
        letterbox_put(out + c * channel, value);
    }
}

extern "C" __global__ void letterbox_float32(const __grid_constant__ LetterboxJob job)
{
    letterbox_pixel<float>(job);
}

extern "C" __global__ void letterbox_float16(const __grid_constant__ LetterboxJob job)
{
    letterbox_pixel<unsigned short>(job);
}

extern "C" __global__ void letterbox_uint8(const __grid_constant__ LetterboxJob job)
{
    letterbox_pixel<unsigned char>(job);
}
