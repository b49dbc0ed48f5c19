#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""count_corpus.py FOLDER: what each file of a folder of captured machines and fabrics holds, as rows of corpus_table.inc.

Counted without weft: by regular expressions, ElementTree and the rules below, which are docs/formats in other words.
  ibnetdiscover  hosts: the first words of adapters' descriptions "HOST DEVICE", else one per system image GUID (or
                 GUID); links: pairs of connected ports of two nodes, and one between each adapter and its host
  ibsim          a host per Hca; links as above
  Slurm          hosts: the names that all Nodes lists stand for; switches: SwitchName lines, or blocks and the groups
                 that BlockSizes joins; links: children of all switches
  nvidia-smi     devices by the names of the rows; links: each device's to what holds it, each bridge's, each memory's,
                 and those between packages and of NVLink pairs
  NCCL XML       gpu elements; net elements, or a nic without any; of pci elements without either, those of classes
                 0x03, 0x02 and 0x0680 are GPUs, NICs and NVSwitches; links: one up from each GPU, NIC and other pci
                 element, a memory per numbered cpu, each pair of cpus, each pair that nvlink or xgmi elements join
  NCCL graph     different dev attributes of gpu and of net elements, each with a link to its host
  hwloc XML      PCI functions of network (02xx, 0c06) and display classes (03xx but for frame buffers), and network
                 devices on no PCI function; links: NUMA nodes, devices, bridges that lead to one, pairs of packages,
                 and pairs in NVLinkBandwidth
"""
import itertools
import os
import re
import sys
import xml.etree.ElementTree as ElementTree

FRAME_BUFFERS = {"1013", "102b", "1234", "1414", "15ad", "1a03", "1af4", "1b36"}
# What the file is, by its name or its ending; decided by reading them.
REFUSED = [
    (r"\.tar\.bz2$", "archive"), (r"\.[58]$", "manual_page"), (r"\.rst$", "restructured_text"),
    (r"\.console$", "lstopo_console"), (r"nmorey-ibutils/.*\.topo$", "ibutils_topology"),
    (r"\.ibnl$", "ibutils_system"), (r"\.lst$", "ibdiagnet_links"), (r"\.fdbs$", "forwarding_tables"),
    (r"astra-sim-astra-sim/.*\.yml$", "astra_sim_network"), (r"astra-sim-astra-sim/.*\.json$", "astra_sim_system"),
    (r"astra-sim-astra-sim/.*\.topo$", "htsim_topology"), (r"\.goal$", "goal_schedule"),
    (r"taccl/topo-.*\.json$", "taccl_profile"), (r"taccl/sk.*\.json$", "taccl_sketch"),
    (r"topograph/.*\.yaml$", "topograph_model"), (r"\.tsv$", "table"), (r"README$", "prose"),
]


def fabric(text):
    records, node = {}, None
    system = ""
    for line in text.splitlines():
        header = re.match(r'(Switch|Ca|Hca|Rt)\s+\d+\s+"([^"]+)"(?:\s+#\s+"(.*)")?', line)
        port = re.match(r'\[(\d+)\].*?"([^"]+)"(?:\[(\d+)\])?', line)
        if line.startswith("sysimgguid="):
            system = line.split("=")[1].split()[0]
        elif header:
            node = records[header[2]] = {"kind": header[1], "text": header[3], "system": system, "ports": {}}
            system = ""
        elif port and node is not None:
            node["ports"][int(port[1])] = (port[2], int(port[3] or 1))
    cables = {frozenset([(name, number), peer]) for name, record in records.items()
              for number, peer in record["ports"].items() if peer[0] != name}
    adapters = {name: record for name, record in records.items() if record["kind"] in ("Ca", "Hca")}
    hosts = set()
    for name, record in adapters.items():
        named = re.match(r"(\S+) \S*\d$", record["text"] or "")
        hosts.add(named[1] if named else record["system"] or name)
    switches = len(records) - len(adapters)
    return len(hosts), 0, len(adapters), switches, len(cables) + len(adapters)


def expand(names):
    """Slurm's a[1-2,5],b with one bracket per name."""
    for head, inside, single in re.findall(r"([\w-]+)\[([^]]+)\]|([\w-]+)", names):
        if single:
            yield single
        for part in inside.split(",") if inside else ():
            low, _, high = part.partition("-")
            for number in range(int(low), int(high or low) + 1):
                yield f"{head}{number:0{len(low)}d}"


def slurm(text):
    hosts = {name for nodes in re.findall(r"Nodes=(\S+)", text) for name in expand(nodes)}
    below = sum(len(list(expand(names))) for names in re.findall(r"(?:Nodes|Switches)=(\S+)", text))
    switches = len(re.findall(r"^SwitchName=", text, re.M))
    blocks = groups = len(re.findall(r"^BlockName=", text, re.M))
    sizes = [int(size) for size in re.findall(r"^BlockSizes=(\S+)", text, re.M)[0].split(",")] if blocks else []
    joined = 0
    for factor in [sizes[i + 1] // sizes[i] for i in range(len(sizes) - 1)]:
        whole, rest = divmod(groups, factor)
        joined += whole + (rest > 1)
        below += groups - (rest if rest == 1 else 0) if groups > 1 else 0
        if groups == 1:
            joined -= whole + (rest > 1)
        groups = whole + (rest > 0)
    return len(hosts), 0, 0, switches + blocks + joined, below


def nvidia_smi(text):
    rows = [line.split() for line in text.splitlines() if re.match(r"(GPU|NIC)\d+\s", line)]
    names = [row[0] for row in rows]
    cells = {(one, names[i]): cell for one, row in zip(names, rows) for i, cell in enumerate(row[1:len(rows) + 1])}

    def groups(near):
        left, found = list(names), []
        while left:
            group = [name for name in left if name == left[0] or cells[left[0], name] in near]
            found.append(group)
            left = [name for name in left if name not in group]
        return found

    packages = groups({"PIX", "PXB", "PHB", "NODE"})
    host_bridges = groups({"PIX", "PXB", "PHB"})
    switches = [group for group in groups({"PIX"}) if len(group) > 1]  # no PXB in these files
    nvlinks = sum(cell.startswith("NV") for cell in cells.values()) // 2
    pairs = len(packages) * (len(packages) - 1) // 2
    gpus = sum(name.startswith("GPU") for name in names)
    return (1, gpus, len(names) - gpus, 0,
            len(names) + len(host_bridges) + len(switches) + pairs + len(packages) + nvlinks)


def nccl_topology(root):
    gpus, nets, others, bus_of, switches = 0, 0, 0, {}, 0
    for pci in root.iter("pci"):
        if pci.find("gpu") is not None:
            gpus += len(pci.findall("gpu"))
            bus_of[pci.find("gpu")] = pci.get("busid").lower()
        elif pci.find("nic") is not None:
            nets += max(1, len(pci.findall("nic/net")))
        else:
            kind = pci.get("class", "")
            gpus += kind.startswith("0x03")
            nets += kind.startswith("0x02")
            switches += kind.startswith("0x0680")
            others += kind[:4] not in ("0x02", "0x03")
    nets += sum(max(1, len(nic.findall("net"))) for cpu in root.iter("cpu") for nic in cpu.findall("nic"))
    known = {pci.get("busid").lower() for pci in root.iter("pci")}
    pairs, hidden = set(), set()
    for gpu, bus in bus_of.items():
        for link in gpu:
            target = link.get("target", "").lower()
            if target not in known and link.get("tclass", "").startswith("0x0680"):
                hidden.add(target)
            if target != bus and (target in known or target in hidden):
                pairs.add(frozenset([bus, target]))
    cpus = list(root.iter("cpu"))
    memories = sum(int(cpu.get("numaid", "-1")) >= 0 for cpu in cpus)
    return (1, gpus, nets, switches + len(hidden),
            gpus + nets + others + memories + len(cpus) * (len(cpus) - 1) // 2 + len(pairs))


def nccl_graph(root):
    gpus = {gpu.get("dev") for gpu in root.iter("gpu")}
    nets = {net.get("dev") for net in root.iter("net")}
    return 1, len(gpus), len(nets), 0, len(gpus) + len(nets)


def hwloc(root):
    is_three = root.get("version").startswith("3")
    gpus, nets, bridges = [], [], 0

    def is_network(os_device):
        kind = int(os_device.get("osdev_type"))
        return bool(kind & 48) if is_three else kind in (2, 3)

    def device_of(item):
        """'gpu' or 'nic' for a PCI function of interest."""
        kind, vendor = re.match(r"(\w{4}) \[(\w{4}):", item.get("pci_type")).groups()
        children = [child for child in item.findall("object") if child.get("type") == "OSDev"]
        if any(child.get("subtype") in ("CUDA", "RSMI", "LevelZero") for child in children):
            return "gpu"
        if kind[:2] == "02" or kind == "0c06":
            return "nic"
        if (kind[:2] == "03" and vendor not in FRAME_BUFFERS) or (kind[:2] == "12" and vendor == "1002"):
            return "gpu"
        return None

    def walk(item):
        """Does anything of interest hang here?"""
        nonlocal bridges
        kind, leads = item.get("type"), False
        if kind == "PCIDev":
            found = device_of(item)
            (gpus if found == "gpu" else nets).append(item) if found else None
            return found is not None
        if kind == "OSDev":
            if is_network(item):
                nets.append(item)
            return is_network(item)
        for child in item.findall("object"):
            leads = walk(child) or leads
        bridges += kind == "Bridge" and leads
        return leads

    walk(root.find("object"))
    objects = list(root.iter("object"))
    memories = sum(item.get("type") == "NUMANode" for item in objects)
    packages = sum(item.get("type") == "Package" for item in objects)
    nvlinks = 0
    for matrix in itertools.chain(root.iter("distances2"), root.iter("distances2hetero")):
        if matrix.get("name") != "NVLinkBandwidth":
            continue
        count = int(matrix.get("nbobjs"))
        values = [int(word) for part in matrix.findall("u64values") for word in part.text.split()]
        nvlinks += sum(bool(values[i * count + j] or values[j * count + i]) for i in range(count) for j in range(i))
    return (1, len(gpus), len(nets), 0,
            memories + len(gpus) + len(nets) + bridges + packages * (packages - 1) // 2 + nvlinks)


def count(path):
    for pattern, name in REFUSED:
        if re.search(pattern, path):
            return name, None
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    if path.endswith(".xml"):
        root = ElementTree.fromstring(text[text.index("<"):].encode())
        return {"system": ("nccl_topology", nccl_topology), "graphs": ("nccl_graph", nccl_graph),
                "topology": ("hwloc_xml", hwloc)}[root.tag], root
    if "switchguid=" in text:
        return ("ibnetdiscover", fabric), text
    if re.search(r"^Hca", text, re.M):
        return ("ibsim", fabric), text
    if path.endswith(".conf"):
        return ("slurm_topology_conf", slurm), text
    return ("nvidia_smi_topo", nvidia_smi), text


def main():
    folder = sys.argv[1]
    for directory, names, files in sorted(os.walk(folder)):
        names.sort()
        for file in sorted(files):
            path = os.path.join(directory, file)
            how, what = count(path)
            name = os.path.relpath(path, folder)
            if what is None:
                print(f'    {{"{name}", "{how}", REFUSED}},')
            else:
                hosts, gpus, nics, switches, links = how[1](what)
                print(f'    {{"{name}", "{how[0]}", READ({hosts}, {gpus}, {nics}, {switches}, {links})}},')


main()
