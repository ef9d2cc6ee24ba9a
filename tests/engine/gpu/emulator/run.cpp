/* Every kernel as a function that runs all threads of a grid, forwards or backwards. */
#include "cuda.h"
#include "heads.cu"
#include "letterbox.cu"

template <typename Job> static void run(void (*kernel)(Job), const unsigned int *grid, const unsigned int *block,
                                        const void *argument, int backwards)
{
    Job job;
    memcpy((void *)&job, argument, sizeof job);
    gridDim = {grid[0], grid[1], 1};
    blockDim = {block[0], block[1], 1};
    const unsigned long long width = (unsigned long long)grid[0] * block[0], all = width * grid[1] * block[1];
    for (unsigned long long each = 0; each < all; each++) {
        const unsigned long long number = backwards ? all - 1 - each : each;
        const unsigned int x = (unsigned int)(number % width), y = (unsigned int)(number / width);
        blockIdx = {x / block[0], y / block[1], 0};
        threadIdx = {x % block[0], y % block[1], 0};
        kernel(job);
    }
}

#define RUN(name, Job)                                                                                               \
    extern "C" __attribute__((visibility("default"))) void run_##name(                                               \
        const unsigned int *grid, const unsigned int *block, const void *job, int backwards)                         \
    {                                                                                                                \
        run<Job>((void (*)(Job))name, grid, block, job, backwards);                                                  \
    }

RUN(letterbox_float32, LetterboxJob)
RUN(letterbox_float16, LetterboxJob)
RUN(letterbox_uint8, LetterboxJob)
RUN(heads_yolox_float32, HeadsJob)
RUN(heads_yolox_float16, HeadsJob)
RUN(heads_yolov5_float32, HeadsJob)
RUN(heads_yolov5_float16, HeadsJob)
RUN(heads_yolov8_float32, HeadsJob)
RUN(heads_yolov8_float16, HeadsJob)
RUN(heads_end2end_float32, HeadsJob)
RUN(heads_end2end_float16, HeadsJob)
