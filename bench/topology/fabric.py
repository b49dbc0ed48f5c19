#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a made-up fabric as ibnetdiscover or Slurm's topology.conf describe it.

fabric.py fat_tree LEAVES SPINES HOSTS_PER_LEAF      two levels, every leaf to every spine
fabric.py dragonfly GROUPS ROUTERS HOSTS_PER_ROUTER  groups of fully connected routers, one cable between two groups
fabric.py rails HOSTS RAILS SPINES                   NIC r of every host at leaf r, every leaf to every spine

--form ibnetdiscover (as it is printed) or slurm (what of it topology.conf can say); to standard output.
"""
import argparse

HCA, SWITCH, AGGREGATION = "Ca", "Switch", "Aggregation"


class Node:
    def __init__(self, kind, guid, system_guid, description):
        self.kind, self.guid, self.system_guid, self.description = kind, guid, system_guid, description
        self.ports = []  # (peer, peer's port number, rate), the own number is the index plus one
        self.lid = 0

    @property
    def name(self):
        return f"{'S' if self.kind == SWITCH else 'H'}-{self.guid:016x}"


class Fabric:
    def __init__(self):
        self.switches, self.adapters = [], []

    def switch(self, description):
        """A switch, and the aggregation node inside of it, which is no host."""
        guid = 0x10000000 + 0x100 * len(self.switches)
        switch = Node(SWITCH, guid, guid, description)
        self.switches.append(switch)
        return switch

    def adapter(self, host, device, kind=HCA, system_guid=None):
        guid = 0x20000000 + 0x10 * len(self.adapters)
        adapter = Node(kind, guid, guid if system_guid is None else system_guid, f"{host} {device}")
        self.adapters.append(adapter)
        return adapter

    def cable(self, one, other, rate):
        one.ports.append((other, len(other.ports) + 1, rate))
        other.ports.append((one, len(one.ports), rate))

    def aggregation_nodes(self, rate):
        for switch in list(self.switches):
            node = self.adapter("Mellanox Technologies", "Aggregation Node", AGGREGATION, switch.system_guid)
            self.cable(switch, node, rate)


def fat_tree(leaf_count, spine_count, hosts_per_leaf):
    fabric = Fabric()
    spines = [fabric.switch(f"MF0;spine-{i + 1}:MQM8700/U1") for i in range(spine_count)]
    leaves = [fabric.switch("Quantum Mellanox Technologies") for _ in range(leaf_count)]  # unmanaged: all alike
    for leaf_index, leaf in enumerate(leaves):
        for i in range(hosts_per_leaf):
            host = fabric.adapter(f"node{leaf_index * hosts_per_leaf + i + 1:04d}", "mlx5_0")
            fabric.cable(leaf, host, "4xHDR")
        for spine in spines:
            fabric.cable(leaf, spine, "4xHDR")
    fabric.aggregation_nodes("4xHDR")
    lines = [f"SwitchName=leaf{i + 1} Nodes=node[{i * hosts_per_leaf + 1:04d}-{(i + 1) * hosts_per_leaf:04d}]"
             for i in range(leaf_count)]
    # A node of the file has one parent, so that all spines are one switch.
    lines.append(f"SwitchName=spine Switches=leaf[1-{leaf_count}]")
    return fabric, lines


def dragonfly(group_count, router_count, hosts_per_router):
    fabric = Fabric()
    groups = [[fabric.switch(f"group{g} router{r}") for r in range(router_count)] for g in range(group_count)]
    for g, group in enumerate(groups):
        for r, router in enumerate(group):
            for i in range(hosts_per_router):
                number = (g * router_count + r) * hosts_per_router + i
                fabric.cable(router, fabric.adapter(f"node{number + 1:04d}", "HCA-1"), "4xEDR")
            for other in group[:r]:
                fabric.cable(router, other, "4xEDR")
    for g in range(group_count):
        for other in range(g):
            fabric.cable(groups[g][other % router_count], groups[other][g % router_count], "4xEDR")
    lines = []
    for g in range(group_count):
        for r in range(router_count):
            first = (g * router_count + r) * hosts_per_router
            lines.append(f"SwitchName=g{g}r{r} Nodes=node[{first + 1:04d}-{first + hosts_per_router:04d}]")
        lines.append(f"SwitchName=g{g} Switches=g{g}r[0-{router_count - 1}]")
    lines.append(f"SwitchName=all Switches=g[0-{group_count - 1}]")
    return fabric, lines


def rails(host_count, rail_count, spine_count):
    fabric = Fabric()
    leaves = [fabric.switch(f"rail{r}") for r in range(rail_count)]
    spines = [fabric.switch(f"spine{s}") for s in range(spine_count)]
    for h in range(host_count):
        for r, leaf in enumerate(leaves):
            fabric.cable(leaf, fabric.adapter(f"dgx{h + 1:03d}", f"mlx5_{r}"), "4xNDR")
    for leaf in leaves:
        for spine in spines:
            fabric.cable(leaf, spine, "4xNDR")
    return fabric, [f"BlockName=pod Nodes=dgx[001-{host_count:03d}]", f"BlockSizes={host_count}"]


def write_ibnetdiscover(fabric):
    nodes = fabric.switches + fabric.adapters
    for lid, node in enumerate(nodes):
        node.lid = lid + 1
    first = fabric.adapters[0]
    print("#\n# Topology file: generated on Thu Jan  1 00:00:00 1970\n#")
    print(f"# Initiated from node {first.guid:016x} port {first.guid:016x}")
    for node in nodes:
        is_switch = node.kind == SWITCH
        device_id = {HCA: 0x101b, SWITCH: 0xd2f0, AGGREGATION: 0xcf09}[node.kind]
        print(f"\nvendid=0x2c9\ndevid=0x{device_id:x}\nsysimgguid=0x{node.system_guid:x}")
        if is_switch:
            print(f"switchguid=0x{node.guid:x}({node.guid:x})")
            print(f"Switch\t{len(node.ports)} \"{node.name}\"\t\t# \"{node.description}\" enhanced port 0 "
                  f"lid {node.lid} lmc 0")
        else:
            print(f"caguid=0x{node.guid:x}")
            print(f"Ca\t{len(node.ports)} \"{node.name}\"\t\t# \"{node.description}\"")
        for number, (peer, peer_port, rate) in enumerate(node.ports):
            own = "" if is_switch else f"({node.guid:x}) "
            far = "" if peer.kind == SWITCH else f"({peer.guid:x}) "
            lids = "" if is_switch else f"lid {node.lid} lmc 0 "
            print(f"[{number + 1}]{own}\t\"{peer.name}\"[{peer_port}]{far}\t\t# {lids}\"{peer.description}\" "
                  f"lid {peer.lid} {rate}")


def main():
    shapes = {"fat_tree": fat_tree, "dragonfly": dragonfly, "rails": rails}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=shapes)
    parser.add_argument("sizes", type=int, nargs=3)
    parser.add_argument("--form", choices=("ibnetdiscover", "slurm"), default="ibnetdiscover")
    options = parser.parse_args()
    fabric, slurm = shapes[options.shape](*options.sizes)
    if options.form == "slurm":
        print("\n".join(slurm))
    else:
        write_ibnetdiscover(fabric)


main()
