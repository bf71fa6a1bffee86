/* The job in plain C: fit a ReLU network to 5 exp(-(x^2 + y^2) / 2).
 *
 * Usage: gaussian_fit N_ITERATIONS SEED BATCH_SIZE SIZE SIZE ... > losses
 * For example: gaussian_fit 100000 1 16 2 8 8 1
 * Writes the loss of every iteration to standard output, as raw doubles.
 *
 * The original's program in C: a network of any sizes, batches with a sample in every row,
 * layers with a forward and a backward function, gradients kept, and an update at the end.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static const double LEARNING_RATE = 0.002, DECAY = 0.99999;
static const double LOW = -3.0, HIGH = 3.0;

/* A linear layer: y = x W^T + b, W of shape (n_out, n_in); and a batch on its way through it. */
struct layer {
    int n_in, n_out;
    double *W, *b, *dL_dW, *dL_db;
    double *y, *dL_dy;
};

/* xoshiro256++ by David Blackman and Sebastiano Vigna, seeded with splitmix64. */
static uint64_t state[4];

static void seed_random(uint64_t seed)
{
    for (int k = 0; k < 4; k++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        state[k] = z ^ (z >> 31);
    }
}

static inline uint64_t rotate_left(uint64_t word, int bits)
{
    return (word << bits) | (word >> (64 - bits));
}

static inline uint64_t next_u64(void)
{
    uint64_t result = rotate_left(state[0] + state[3], 23) + state[0];
    uint64_t t = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate_left(state[3], 45);
    return result;
}

static inline double uniform(double low, double high)
{
    return low + (high - low) * ((double)(next_u64() >> 11) * 0x1p-53);
}

static void draw_batch(int n_batch, int n_in, double *x, double *target)
{
    for (int s = 0; s < n_batch; s++) {
        double square = 0.0;
        for (int i = 0; i < n_in; i++) {
            double coordinate = uniform(LOW, HIGH);
            x[s * n_in + i] = coordinate;
            square += coordinate * coordinate;
        }
        target[s] = 5.0 * exp(-square / 2.0);
    }
}

static void linear_forward(int n_batch, const struct layer *l, const double *restrict x)
{
    const double *restrict W = l->W;
    double *restrict y = l->y;
    for (int s = 0; s < n_batch; s++)
        for (int o = 0; o < l->n_out; o++) {
            double sum = l->b[o];
            for (int i = 0; i < l->n_in; i++)
                sum += W[o * l->n_in + i] * x[s * l->n_in + i];
            y[s * l->n_out + o] = sum;
        }
}

static void linear_backward_parameters(int n_batch, const struct layer *l, const double *restrict x)
{
    const double *restrict dL_dy = l->dL_dy;
    double *restrict dL_dW = l->dL_dW, *restrict dL_db = l->dL_db;
    for (int k = 0; k < l->n_out * l->n_in; k++)
        dL_dW[k] = 0.0;
    for (int o = 0; o < l->n_out; o++)
        dL_db[o] = 0.0;
    for (int s = 0; s < n_batch; s++)
        for (int o = 0; o < l->n_out; o++) {
            for (int i = 0; i < l->n_in; i++)
                dL_dW[o * l->n_in + i] += dL_dy[s * l->n_out + o] * x[s * l->n_in + i];
            dL_db[o] += dL_dy[s * l->n_out + o];
        }
}

static void linear_backward_input(int n_batch, const struct layer *l, double *restrict dL_dx)
{
    const double *restrict W = l->W, *restrict dL_dy = l->dL_dy;
    for (int s = 0; s < n_batch; s++) {
        for (int i = 0; i < l->n_in; i++)
            dL_dx[s * l->n_in + i] = 0.0;
        for (int o = 0; o < l->n_out; o++)
            for (int i = 0; i < l->n_in; i++)
                dL_dx[s * l->n_in + i] += dL_dy[s * l->n_out + o] * W[o * l->n_in + i];
    }
}

static void linear_sgd(struct layer *l, double rate)
{
    for (int k = 0; k < l->n_out * l->n_in; k++)
        l->W[k] -= rate * l->dL_dW[k];
    for (int o = 0; o < l->n_out; o++)
        l->b[o] -= rate * l->dL_db[o];
}

static void relu_forward(int n, double *h)
{
    for (int k = 0; k < n; k++)
        h[k] = h[k] > 0.0 ? h[k] : 0.0;
}

static void relu_backward(int n, const double *restrict h, double *restrict dL_dh)
{
    for (int k = 0; k < n; k++)
        dL_dh[k] = h[k] > 0.0 ? dL_dh[k] : 0.0;
}

static double mean_squared_error(int n, const double *restrict y, const double *restrict target,
                                 double *restrict dL_dy)
{
    double sum = 0.0;
    for (int k = 0; k < n; k++) {
        double error = y[k] - target[k];
        sum += error * error;
        dL_dy[k] = 2.0 * error / n;
    }
    return sum / n;
}

static double iterate(int n_batch, int n_layers, struct layer *layers, double *x, double *target,
                      double rate)
{
    struct layer *last = &layers[n_layers - 1];
    draw_batch(n_batch, layers[0].n_in, x, target);

    for (int k = 0; k < n_layers; k++) {
        linear_forward(n_batch, &layers[k], k == 0 ? x : layers[k - 1].y);
        if (k < n_layers - 1)
            relu_forward(n_batch * layers[k].n_out, layers[k].y);
    }
    double loss = mean_squared_error(n_batch * last->n_out, last->y, target, last->dL_dy);

    for (int k = n_layers - 1; k >= 0; k--) {
        linear_backward_parameters(n_batch, &layers[k], k == 0 ? x : layers[k - 1].y);
        if (k > 0) {
            linear_backward_input(n_batch, &layers[k], layers[k - 1].dL_dy);
            relu_backward(n_batch * layers[k].n_in, layers[k - 1].y, layers[k - 1].dL_dy);
        }
    }
    for (int k = 0; k < n_layers; k++)
        linear_sgd(&layers[k], rate);
    return loss;
}

static double *allocate(size_t n)
{
    double *numbers = calloc(n, sizeof *numbers);
    if (numbers == NULL)
        exit(1);
    return numbers;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: %s N_ITERATIONS SEED BATCH_SIZE SIZE SIZE ...\n", argv[0]);
        return 2;
    }
    size_t n_iterations = strtoull(argv[1], NULL, 10);
    seed_random(strtoull(argv[2], NULL, 10));
    int n_batch = atoi(argv[3]), n_layers = argc - 5;

    struct layer *layers = calloc(n_layers, sizeof *layers);
    if (layers == NULL)
        return 1;
    for (int k = 0; k < n_layers; k++) {
        struct layer *l = &layers[k];
        l->n_in = atoi(argv[k + 4]);
        l->n_out = atoi(argv[k + 5]);
        l->W = allocate(l->n_out * l->n_in);
        l->b = allocate(l->n_out);
        l->dL_dW = allocate(l->n_out * l->n_in);
        l->dL_db = allocate(l->n_out);
        l->y = allocate(n_batch * l->n_out);
        l->dL_dy = allocate(n_batch * l->n_out);
        for (int n = 0; n < l->n_out * l->n_in; n++)
            l->W[n] = uniform(0.0, 1.0);
        for (int n = 0; n < l->n_out; n++)
            l->b[n] = uniform(0.0, 1.0);
    }
    double *x = allocate(n_batch * layers[0].n_in), *target = allocate(n_batch);
    double *losses = allocate(n_iterations);
    double rate = LEARNING_RATE;
    for (size_t i = 0; i < n_iterations; i++) {
        rate *= DECAY;
        losses[i] = iterate(n_batch, n_layers, layers, x, target, rate);
    }
    return fwrite(losses, sizeof *losses, n_iterations, stdout) == n_iterations ? 0 : 1;
}
