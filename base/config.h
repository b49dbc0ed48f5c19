/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of everything the environment can say to weft. It makes the struct, the parser, the help text, the
 * manual page and the warning for a WEFT_ variable that is none. getenv() is called in config.c alone.
 *
 * X(field, VARIABLE, KIND, default, low, high, help)
 * KIND: U (unsigned; K, M, G suffixes are 1024-based), T (time: ns, us, ms, s suffixes; plain means seconds; kept in
 * ns), B (0 or 1), S (string), C (choice: `low` names the table of words, see config.c)
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/types.h>

#include "base/diagnostic.h"

#define CONFIG_TABLE(X)                                                                                                \
    X(log, WEFT_LOG, C, "warning", levels, 0, "least severe message to write")                                         \
    X(log_file, WEFT_LOG_FILE, S, "", 0, 0, "file to append log lines to; empty means standard error")                 \
    X(deadline_ns, WEFT_DEADLINE, T, "600s", NS_PER_MS, 86400 * NS_PER_S,                                              \
      "longest wait for a live rank that has not arrived")                                                             \
    X(keepalive_ns, WEFT_KEEPALIVE, T, "10s", 100 * NS_PER_MS, 3600 * NS_PER_S,                                        \
      "silence on a control connection after which its rank counts as failed")                                         \
    X(algorithm, WEFT_ALGORITHM, C, "auto", algorithms, 0, "if a call names none")                                     \
    X(port, WEFT_PORT, U, "0", 0, 65535, "port of rank 0 at MASTER_ADDR; 0 means MASTER_PORT + 1")                     \
    X(key_file, WEFT_KEY_FILE, S, "", 0, 0, "file of mode 600 with the job's key, 64 hexadecimal digits")              \
    X(insecure, WEFT_INSECURE, B, "0", 0, 1, "let ranks meet without a key where the launcher has none for them")      \
    X(interface, WEFT_INTERFACE, S, "", 0, 0,                                                                          \
      "interface or address to be reached at; empty: where packets to rank 0 leave")                                   \
    X(port_range, WEFT_PORT_RANGE, S, "", 0, 0, "ports to listen at, as 30000-30999; empty: any")                      \
    X(host_id, WEFT_HOST_ID, S, "", 0, 0, "what ranks of one host have in common; empty: asked of the kernel")         \
    X(topology, WEFT_TOPOLOGY, S, "", 0, 0, "file with the topology; none; discover; empty: discover between hosts")   \
    X(check_links, WEFT_CHECK_LINKS, C, "auto", link_checks, 0,                                                        \
      "connect the ranks that plans join when a communicator is made")                                                 \
    X(link_timeout_ns, WEFT_LINK_TIMEOUT, T, "30s", 10 * NS_PER_MS, 3600 * NS_PER_S,                                   \
      "longest that such a connection may take")                                                                       \
    X(transport, WEFT_TRANSPORT, C, "auto", transports, 0, "transport to use")                                         \
    X(shm_attach, WEFT_SHM_ATTACH, C, "auto", attachments, 0, "have the kernel copy between ranks of a host")          \
    X(tcp_lanes, WEFT_TCP_LANES, U, "0", 0, 16, "sockets to each peer; 0 lets the transport choose")                   \
    X(tcp_buffer_bytes, WEFT_TCP_BUFFER, U, "0", 0, 64 << 20,                                                          \
      "bytes of a socket's send and receive buffers; 0 lets the kernel choose")                                        \
    X(module_path, WEFT_MODULE_PATH, S, "", 0, 0, "folder of loadable modules; empty: beside the library")             \
    X(verbs_rails, WEFT_VERBS_RAILS, U, "4", 1, 8, "RDMA devices, at most, that share what goes to a peer")            \
    X(verbs_lanes, WEFT_VERBS_QPS, U, "1", 1, 4, "queue pairs to each peer on each RDMA device")                       \
    X(verbs_depth, WEFT_VERBS_DEPTH, U, "128", 8, 16384, "notifications and requests of a queue pair; a power of two") \
    X(verbs_stripe_bytes, WEFT_VERBS_STRIPE, U, "64K", 8192, UINT32_MAX,                                               \
      "slices from this size on are shared by all RDMA devices")                                                       \
    X(verbs_gid_index, WEFT_VERBS_GID_INDEX, U, "256", 0, 256, "entry of the GID tables; 256 lets the library choose") \
    X(verbs_traffic_class, WEFT_VERBS_TRAFFIC_CLASS, U, "0", 0, 255, "traffic class of RoCE packets: DSCP times 4")    \
    X(verbs_service_level, WEFT_VERBS_SERVICE_LEVEL, U, "0", 0, 15, "service level of InfiniBand packets")             \
    X(verbs_pkey_index, WEFT_VERBS_PKEY_INDEX, U, "0", 0, 65535, "entry of the P_Key tables")                          \
    X(verbs_timeout, WEFT_VERBS_TIMEOUT, U, "18", 1, 31, "patience with an unacknowledged packet: 4.096 us << this")   \
    X(verbs_retries, WEFT_VERBS_RETRIES, U, "6", 1, 7, "times that an unacknowledged packet is sent again")            \
    X(verbs_devices, WEFT_VERBS_DEVICES, S, "", 0, 0,                                                                  \
      "RDMA devices to use, as mlx5_0,mlx5_1:2; \"^\" first: all but these")                                           \
    X(registration_cache, WEFT_REGISTRATION_CACHE, B, "1", 0, 1,                                                       \
      "register large buffers with RDMA devices as they come, and keep them so")                                       \
    X(registration_bytes, WEFT_REGISTRATION_LIMIT, U, "0", 0, UINT64_MAX,                                              \
      "bytes registered at a time; 0: half of what may be locked")                                                     \
    X(calibration, WEFT_CALIBRATION, S, "", 0, 0,                                                                      \
      "measured costs, a file all ranks read; 0: none; empty: this host's")                                            \
    X(tuning, WEFT_TUNING, S, "", 0, 0, "measured choices of algorithms, a file all ranks read")                       \
    X(channels, WEFT_CHANNELS, U, "0", 0, 16, "rings or trees that share a message; 0 lets the cost model choose")     \
    X(slice_bytes, WEFT_SLICE, U, "0", 0, 16 << 20, "bytes of a chunk in flight; 0 lets the cost model choose")        \
    X(slot_depth, WEFT_SLOTS, U, "0", 0, 64, "slices in flight per stream, 2 or more; 0 lets the model choose")        \
    X(canonical, WEFT_CANONICAL, B, "0", 0, 1, "results that depend on inputs and the number of ranks alone")          \
    X(verify, WEFT_VERIFY, B, "0", 0, 1, "prove every plan right before it is used")                                   \
    X(spin_ns, WEFT_SPIN, T, "3us", 0, NS_PER_S, "busy waiting before giving the core away")                           \
    X(progress_thread, WEFT_PROGRESS_THREAD, B, "0", 0, 1, "run operations on a thread of their own")                  \
    X(bind, WEFT_BIND, C, "1", bindings, 0, "bind local ranks to their cores; all: where they share them, too")        \
    X(simd, WEFT_SIMD, C, "auto", simd_levels, 0, "widest vector instructions to use")

enum config_simd { SIMD_AUTO, SIMD_PORTABLE, SIMD_AVX2, SIMD_AVX512 };
enum config_attach { ATTACH_AUTO, ATTACH_OFF, ATTACH_PERMIT };
enum config_binding { BIND_NOT, BIND_APART, BIND_ALL };
enum config_link_check { LINK_CHECK_AUTO, LINK_CHECK_OFF, LINK_CHECK_ON };
enum config_transport { TRANSPORT_AUTO, TRANSPORT_SHM, TRANSPORT_TCP, TRANSPORT_VERBS };

#define CONFIG_STRING_BYTES 256 /* with the terminator */

#define CONFIG_FIELD_U(field) uint64_t field;
#define CONFIG_FIELD_T(field) uint64_t field;
#define CONFIG_FIELD_B(field) bool field;
#define CONFIG_FIELD_S(field) char field[CONFIG_STRING_BYTES];
#define CONFIG_FIELD_C(field) int field;
#define CONFIG_FIELD(field, variable, kind, ...) CONFIG_FIELD_##kind(field)
struct config {
    CONFIG_TABLE(CONFIG_FIELD)
};

/*
 * Parse "NAME=value" strings (NULL-terminated, as environ); names outside WEFT_ are passed over, unknown WEFT_ names
 * are logged as a warning with the nearest right one; an empty value counts as unset. *config is filled in any case:
 * WEFT_INVALID_ARGUMENT, with a sentence on the first bad value, leaves the default of each field whose value is bad.
 * Pure but for the log. Thread: any.
 */
weft_status config_parse(char *const environment[], struct config *config, struct diagnostic *diagnostic);

/*
 * This process's configuration, read once. A bad value is reported once, on the log, and leaves that field's default;
 * config_status() then says so, and weft_comm_create() fails with it. Thread: any.
 */
const struct config *config_get(void);
weft_status config_status(struct diagnostic *diagnostic);

/* A variable of a launcher (RANK, WORLD_SIZE, ...), or NULL: the only other door to the environment. */
const char *config_launcher_variable(const char *name);

/* "WEFT_LOG  warning  least severe ..." lines for --help and the manual page; the caller frees. */
char *config_help(void);
#endif
