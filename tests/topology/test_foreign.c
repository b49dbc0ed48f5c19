/* SPDX-License-Identifier: Apache-2.0 */
/* What is no topology is refused by its name, with the reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "reader_support.h"

static void files_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"BZh91AY&SY", "an archive or a compressed file"},
        {"\x1f\x8b\x08", "an archive or a compressed file"},
        {"PK\x03\x04", "an archive or a compressed file"},
        {"\xff\xfe<\x01", "text in UTF-16"},
        {"<html><body>404 Not Found</body></html>", "a web page"},
        {".TH \"topology.conf\" 5\nSwitchName=s0 Nodes=n\n", "a manual page"},
        {".\\\" a comment\n.SH NAME\n", "a manual page"},
        {"A title\n=======\n\n::\n\n   Switch 24 \"S-005442ba00003080\"\n", "reStructuredText"},
        {"Machine (P#0 total=2004MiB)\n  Package L#0\n", "what lstopo shows on a console (its XML is read)"},
        {"# boxes\n\nMTS800 SW_1\n   P1 -4x-5G-> Cougar H-1 P1\n", "an ibutils (ibdm) topology"},
        {"SYSTEM LEAF,LEAF:4x\n\nNODE SW 8 MT43132 U1\n   1 -> P16\n", "an ibutils (ibdm) system definition"},
        {"{ SW Ports:08 SystemGUID:a2 NodeGUID:02 } { SW }\n", "an ibdiagnet list of links"},
        {"dump_ucast_routes: Switch 0x02\nLID : Port\n", "OpenSM's forwarding tables, which are routes"},
        {"SW   268  1 0x02 4x EDR - CA 1 1 0x03 ( 'a' - 'b' )\n", "a port report of ibnetdiscover -p"},
        {"Switch\t : 0x0002 ports 36 devid 0x1 vendid 0x2 \"a\"\n", "a list of nodes without cables"},
        {"CA: a HCA-1:\n 0x02 1 1[  ] ==( 4X 25.78 Gbps Active/ LinkUp)==> 2 1[ ] \"b\"\n", "what iblinkinfo prints"},
        {"topology: [ Ring ]\nnpus_count: [ 16 ]\n", "an ASTRA-sim network"},
        {"{\n \"scheduling-policy\": \"LIFO\",\n \"all-reduce-implementation\": []\n}\n", "an ASTRA-sim system"},
        {"Nodes 8\nTiers 3\nPodsize 4\n", "an htsim topology"},
        {"# comment\nnum_ranks 2\n\nrank 0 {\n}\n", "a LogGOPSim schedule (GOAL), which describes messages and not"},
        {"{ \"name\": \"x\", \"gpus_per_node\": 8, \"remote_invbw\": 1 }\n", "a TACCL profile"},
        {"{ \"nnodes\": 2, \"intranode_sketch\": {} }\n", "a TACCL sketch"},
        {"ClusterName=c\nNodeName=n[1-4] CPUs=4\n", "a slurm.conf, which names nodes"},
        {"# a picture\nswitches:\n  core:\n    switches:\n    - leaf\nblocks:\n- switch: leaf\n", "a topograph model"},
        {"=== ROCm System Management Interface ===\n", "what rocm-smi prints"},
        {"+------+\n| NVIDIA-SMI 535.54   Driver Version |\n", "what nvidia-smi prints of each GPU's state"},
        {"file\trepo\tpath\tlicence\na\tb\tc\td\n", "a table of tab-separated values"},
        {"As fabric topology description this tool takes a text file.\n", "a text for people"},
        {"{}", "is in no known format; expected one of"},
        {"", "the file is empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) must_refuse(cases[i].text, cases[i].words);
}

static void formats_have_names_of_their_own(void **state)
{
    (void)state;
    size_t count;
    const struct format_reader *const *readers = format_readers(&count);
    for (size_t i = 0; i < count; i++) {
        assert_true(readers[i]->name[0] && readers[i]->title[0] && readers[i]->recognise);
        for (size_t j = 0; j < i; j++) assert_string_not_equal(readers[i]->name, readers[j]->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_refused_by_name),
        cmocka_unit_test(formats_have_names_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
