// Programs at the driver's door (XDP). `harness/xdp.rs` has clang compile them when a way that needs one begins.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#define SEC(name) __attribute__((section(name), used))
#define SWAPPED(number) __builtin_bswap16(number)

static long (*redirect_out_of)(__u32 interface, __u64 flags) = (void *)BPF_FUNC_redirect;
static long (*redirect_into)(void *map, __u32 key, __u64 otherwise) = (void *)BPF_FUNC_redirect_map;

// Index of the other port: the loader's.
volatile const __u32 other = 0;

// The socket of the port's only queue.
struct {
  int (*type)[BPF_MAP_TYPE_XSKMAP];
  __u32 *key;
  __u32 *value;
  int (*max_entries)[1];
} sockets SEC(".maps");

// On the ends of a veth pair, which take redirected frames only where they have a program themselves.
SEC("xdp") int take(struct xdp_md *frame) { return XDP_PASS; }

// The least that a pass can be.
SEC("xdp") int every_frame(struct xdp_md *frame) { return redirect_out_of(other, 0); }

SEC("xdp") int to_socket(struct xdp_md *frame) { return redirect_into(&sockets, frame->rx_queue_index, XDP_PASS); }

// Ports of a robot's services.
static __attribute__((always_inline)) int is_robots(__be16 port) {
  switch (SWAPPED(port)) {
  case 80: case 502: case 29999: case 30001: case 30002: case 30003: case 30004: case 30011: case 30012: case 30013:
  case 30020: case 50001: case 50002: case 50003:
    return 1;
  default:
    return 0;
  }
}

// UDP, and TCP between ports that no service of the robot has, go out of the other port. All else is the box's to judge:
// also what is not IPv4, has options, is tagged, or is a part of a datagram, since it may be meant for the robot all the same.
SEC("xdp") int unless_robots(struct xdp_md *frame) {
  void *end = (void *)(long)frame->data_end;
  struct ethhdr *ethernet = (void *)(long)frame->data;
  struct iphdr *ip = (void *)(ethernet + 1);
  __be16 *ports = (void *)(ip + 1);
  if ((void *)(ports + 2) > end || ethernet->h_proto != SWAPPED(ETH_P_IP) || *(__u8 *)ip != 0x45)
    return XDP_PASS;
  // More fragments, or not the first one.
  if (ip->frag_off & SWAPPED(0x3fff))
    return XDP_PASS;
  if (ip->protocol == IPPROTO_UDP || (ip->protocol == IPPROTO_TCP && !is_robots(ports[0]) && !is_robots(ports[1])))
    return redirect_out_of(other, 0);
  return XDP_PASS;
}

char licence[] SEC("license") = "Dual MIT/GPL";
