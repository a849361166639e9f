/* agent serve: the loop around one connection and its streams. */
#ifndef SAMEBOX_SERVE_H
#define SAMEBOX_SERVE_H

/* agent serve, on descriptors that it takes over; returns the exit code. */
int serve(int in, int out);

#endif
