/* SPDX-License-Identifier: Apache-2.0 */
/* librdmacm knows ports by the IP addresses of their network interfaces. */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "fabric/device/device.h"
#include "topology/model/rdma.h"

/* On Ethernet the GID is the address; a link-local one also needs the number of its interface. */
static weft_status address_from_gid(const struct device_port *port, struct sockaddr_storage *address,
                                    struct diagnostic *diagnostic)
{
    struct sockaddr_storage result = {0};
    if (rdma_gid_is_ipv4(port->gid)) {
        struct sockaddr_in *ipv4 = (struct sockaddr_in *)&result;
        ipv4->sin_family = AF_INET;
        memcpy(&ipv4->sin_addr, port->gid + 12, sizeof ipv4->sin_addr);
    } else {
        struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)&result;
        ipv6->sin6_family = AF_INET6;
        memcpy(&ipv6->sin6_addr, port->gid, sizeof ipv6->sin6_addr);
        if (rdma_gid_is_link_local(port->gid)) {
            ipv6->sin6_scope_id = if_nametoindex(port->interface);
            if (!ipv6->sin6_scope_id)
                return diagnose(diagnostic, WEFT_UNSUPPORTED,
                                "%s port %u has a link-local address, and no interface \"%s\" for it", port->device,
                                port->port, port->interface);
        }
    }
    *address = result;
    return WEFT_OK;
}

/* On InfiniBand: the address of the IPoIB interface, IPv4 before IPv6. */
static weft_status address_from_interface(const struct device_port *port, struct sockaddr_storage *address,
                                          struct diagnostic *diagnostic)
{
    struct ifaddrs *interfaces = NULL;
    if (port->interface[0] && getifaddrs(&interfaces) != 0)
        return diagnose(diagnostic, WEFT_SYSTEM_ERROR, "cannot read the network interfaces: %s", strerror(errno));
    const struct sockaddr *found = NULL;
    for (const struct ifaddrs *i = interfaces; i; i = i->ifa_next) {
        if (!i->ifa_addr || strcmp(i->ifa_name, port->interface) != 0) continue;
        if (i->ifa_addr->sa_family == AF_INET) found = i->ifa_addr;
        if (i->ifa_addr->sa_family == AF_INET6 && !found) found = i->ifa_addr;
    }
    if (found) memset(address, 0, sizeof *address);
    if (found)
        memcpy(address, found, found->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    if (interfaces) freeifaddrs(interfaces);
    if (found) return WEFT_OK;
    return diagnose(diagnostic, WEFT_UNSUPPORTED,
                    "%s port %u has no network interface with an IP address, which librdmacm needs%s%s", port->device,
                    port->port, port->interface[0] ? ": " : "", port->interface);
}

weft_status device_port_address(const struct device_port *port, struct sockaddr_storage *address,
                                struct diagnostic *diagnostic)
{
    return port->ethernet ? address_from_gid(port, address, diagnostic)
                          : address_from_interface(port, address, diagnostic);
}
