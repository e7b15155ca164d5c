/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* softdirty keeper PID: the process that holds the tracking of one target for others. */
#ifndef SDI_KEEPER_KEEPER_H
#define SDI_KEEPER_KEEPER_H

/*
 * The whole life of a keeper. It is started by the library (lib/connect.c), which leaves a socket
 * with a request in it as descriptor SDI_WIRE_START_FD; without that it says so and returns 2.
 */
int sdi_keeper_main(int argc, char **argv);

#endif
