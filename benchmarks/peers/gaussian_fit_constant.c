/* The job in plain C: fit a 2-8-8-1 ReLU network to 5 exp(-(x^2 + y^2) / 2).
 *
 * Usage: gaussian_fit_constant N_ITERATIONS SEED > losses
 * Writes the loss of every iteration to standard output, as raw doubles.
 *
 * gaussian_fit.c with all sizes as constants, for this one network: the compiler unrolls and
 * vectorises every loop.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { N_IN = 2, N_HIDDEN = 8, N_OUT = 1, N_BATCH = 16 };

static const double LEARNING_RATE = 0.002, DECAY = 0.99999;
static const double LOW = -3.0, HIGH = 3.0;

/* Parameters and their gradients. */
static double W1[N_HIDDEN][N_IN], b1[N_HIDDEN], dL_dW1[N_HIDDEN][N_IN], dL_db1[N_HIDDEN];
static double W2[N_HIDDEN][N_HIDDEN], b2[N_HIDDEN], dL_dW2[N_HIDDEN][N_HIDDEN], dL_db2[N_HIDDEN];
static double W3[N_OUT][N_HIDDEN], b3[N_OUT], dL_dW3[N_OUT][N_HIDDEN], dL_db3[N_OUT];

/* One batch on its way through the network: inputs, activations, output. */
static double x[N_BATCH][N_IN], target[N_BATCH][N_OUT];
static double h1[N_BATCH][N_HIDDEN], h2[N_BATCH][N_HIDDEN], y[N_BATCH][N_OUT];

/* And the derivatives of the loss on their way back. */
static double dL_dy[N_BATCH][N_OUT], dL_dh2[N_BATCH][N_HIDDEN], dL_dh1[N_BATCH][N_HIDDEN];

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

static void draw_parameters(double *parameters, int n)
{
    for (int k = 0; k < n; k++)
        parameters[k] = uniform(0.0, 1.0);
}

static void draw_batch(void)
{
    for (int s = 0; s < N_BATCH; s++)
        for (int i = 0; i < N_IN; i++)
            x[s][i] = uniform(LOW, HIGH);
    for (int s = 0; s < N_BATCH; s++)
        target[s][0] = 5.0 * exp(-(x[s][0] * x[s][0] + x[s][1] * x[s][1]) / 2.0);
}

/* The layers. Their sizes are constants wherever they are called, and after inlining
 * the compiler knows all loops' lengths. */

static inline void linear_forward(int n_in, int n_out, double W[n_out][n_in], double b[n_out],
                                  double in[N_BATCH][n_in], double out[N_BATCH][n_out])
{
    for (int s = 0; s < N_BATCH; s++)
        for (int o = 0; o < n_out; o++) {
            double sum = b[o];
            for (int i = 0; i < n_in; i++)
                sum += W[o][i] * in[s][i];
            out[s][o] = sum;
        }
}

static inline void linear_backward_parameters(int n_in, int n_out, double in[N_BATCH][n_in],
                                              double dL_dout[N_BATCH][n_out],
                                              double dL_dW[n_out][n_in], double dL_db[n_out])
{
    for (int o = 0; o < n_out; o++) {
        for (int i = 0; i < n_in; i++)
            dL_dW[o][i] = 0.0;
        dL_db[o] = 0.0;
    }
    for (int s = 0; s < N_BATCH; s++)
        for (int o = 0; o < n_out; o++) {
            for (int i = 0; i < n_in; i++)
                dL_dW[o][i] += dL_dout[s][o] * in[s][i];
            dL_db[o] += dL_dout[s][o];
        }
}

static inline void linear_backward_input(int n_in, int n_out, double W[n_out][n_in],
                                         double dL_dout[N_BATCH][n_out], double dL_din[N_BATCH][n_in])
{
    for (int s = 0; s < N_BATCH; s++)
        for (int i = 0; i < n_in; i++) {
            double sum = 0.0;
            for (int o = 0; o < n_out; o++)
                sum += dL_dout[s][o] * W[o][i];
            dL_din[s][i] = sum;
        }
}

static inline void linear_sgd(int n_in, int n_out, double W[n_out][n_in], double b[n_out],
                              double dL_dW[n_out][n_in], double dL_db[n_out], double rate)
{
    for (int o = 0; o < n_out; o++) {
        for (int i = 0; i < n_in; i++)
            W[o][i] -= rate * dL_dW[o][i];
        b[o] -= rate * dL_db[o];
    }
}

static inline void relu_forward(double h[N_BATCH][N_HIDDEN])
{
    for (int s = 0; s < N_BATCH; s++)
        for (int o = 0; o < N_HIDDEN; o++)
            h[s][o] = h[s][o] > 0.0 ? h[s][o] : 0.0;
}

static inline void relu_backward(double h[N_BATCH][N_HIDDEN], double dL_dh[N_BATCH][N_HIDDEN])
{
    for (int s = 0; s < N_BATCH; s++)
        for (int o = 0; o < N_HIDDEN; o++)
            dL_dh[s][o] = h[s][o] > 0.0 ? dL_dh[s][o] : 0.0;
}

static inline double mean_squared_error(void)
{
    double sum = 0.0;
    for (int s = 0; s < N_BATCH; s++) {
        double error = y[s][0] - target[s][0];
        sum += error * error;
        dL_dy[s][0] = 2.0 * error / N_BATCH;
    }
    return sum / N_BATCH;
}

static double iterate(double rate)
{
    draw_batch();

    linear_forward(N_IN, N_HIDDEN, W1, b1, x, h1);
    relu_forward(h1);
    linear_forward(N_HIDDEN, N_HIDDEN, W2, b2, h1, h2);
    relu_forward(h2);
    linear_forward(N_HIDDEN, N_OUT, W3, b3, h2, y);
    double loss = mean_squared_error();

    linear_backward_parameters(N_HIDDEN, N_OUT, h2, dL_dy, dL_dW3, dL_db3);
    linear_backward_input(N_HIDDEN, N_OUT, W3, dL_dy, dL_dh2);
    relu_backward(h2, dL_dh2);
    linear_backward_parameters(N_HIDDEN, N_HIDDEN, h1, dL_dh2, dL_dW2, dL_db2);
    linear_backward_input(N_HIDDEN, N_HIDDEN, W2, dL_dh2, dL_dh1);
    relu_backward(h1, dL_dh1);
    linear_backward_parameters(N_IN, N_HIDDEN, x, dL_dh1, dL_dW1, dL_db1);

    linear_sgd(N_HIDDEN, N_OUT, W3, b3, dL_dW3, dL_db3, rate);
    linear_sgd(N_HIDDEN, N_HIDDEN, W2, b2, dL_dW2, dL_db2, rate);
    linear_sgd(N_IN, N_HIDDEN, W1, b1, dL_dW1, dL_db1, rate);
    return loss;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s N_ITERATIONS SEED\n", argv[0]);
        return 2;
    }
    size_t n_iterations = strtoull(argv[1], NULL, 10);
    seed_random(strtoull(argv[2], NULL, 10));

    draw_parameters(*W1, N_HIDDEN * N_IN);
    draw_parameters(b1, N_HIDDEN);
    draw_parameters(*W2, N_HIDDEN * N_HIDDEN);
    draw_parameters(b2, N_HIDDEN);
    draw_parameters(*W3, N_OUT * N_HIDDEN);
    draw_parameters(b3, N_OUT);

    double *losses = malloc(n_iterations * sizeof *losses);
    if (losses == NULL && n_iterations > 0)
        return 1;
    double rate = LEARNING_RATE;
    for (size_t i = 0; i < n_iterations; i++) {
        rate *= DECAY;
        losses[i] = iterate(rate);
    }
    size_t written = fwrite(losses, sizeof *losses, n_iterations, stdout);
    free(losses);
    return written == n_iterations ? 0 : 1;
}
