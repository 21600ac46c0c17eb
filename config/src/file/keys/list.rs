//! The keys themselves, in the order of the reference.

use super::KeyDefault::{self, Absent, Required, Value};
use super::{Key, Table};

const fn key(
    table: Table,
    name: &'static str,
    kind: &'static str,
    default: KeyDefault,
    description: &'static str,
) -> Key {
    Key {
        table,
        name,
        kind,
        default,
        description,
    }
}

/// Every key.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key(Table::Pop, "name", "name", Absent("the host's name"), "Name of this edge site, in state, metrics and logs."),
    key(Table::Pop, "addresses", "addresses", Value("[]"), "Unicast addresses of this PoP itself."),
    key(Table::Pop, "workers", "0 to 256", Value("0"), "Data-path threads; 0 is one a core; takes effect at start."),
    key(Table::Pop, "io_engine", "`\"auto\"`, `\"epoll\"`, `\"io_uring\"`", Value("\"auto\""), "What receives the bytes of TCP flows: io_uring while many flows are busy and where the kernel allows it, never, or always; takes effect at start."),
    key(Table::Pop, "splice", "boolean", Value("false"), "What is bulk, 256 KiB of a direction in large readings, passes through the kernel alone (`splice`) and is not copied; where that is impossible, it is copied; takes effect at start."),
    key(Table::Pop, "state_file", "path", Value("\"portolan.state.json\""), "Where the operator's drains are kept over restarts; relative to this file."),
    key(Table::Pop, "port_steering", "`\"sk_lookup\"`, `\"tproxy\"`", Value("\"sk_lookup\""), "How clients of listeners with more than 1000 ports come to their one socket a worker: a program in the kernel, or the firewall's rules; takes effect at start."),

    key(Table::Admin, "listen", "address:port", Value("\"127.0.0.1:9900\""), "Where it listens; off loopback only with `token_file`; port 0 is the system's choice."),
    key(Table::Admin, "token_file", "path", Absent("none"), "File with the bearer token that every request must carry."),

    key(Table::Readiness, "listen", "address:port", Required, "Where it listens, such as `\"0.0.0.0:8088\"`."),

    key(Table::Shutdown, "drain", "duration, 0s to 24h", Value("\"30s\""), "How long flows may go on after SIGTERM before they are reset; a second SIGTERM ends at once."),
    key(Table::Shutdown, "upgrade_drain", "duration, 0s to 24h", Value("\"10m\""), "How long flows may go on in a process that has handed over to its successor before they are reset."),

    key(Table::Log, "format", "`\"text\"`, `\"json\"`", Value("\"text\""), "Lines for people or JSON objects."),
    key(Table::Log, "flow_log", "path", Value("\"\""), "File that takes one JSON line a finished flow; `\"\"` is off."),
    key(Table::Log, "sample", "0 to 1", Value("1.0"), "Share of the flows that are recorded."),

    key(Table::Limits, "max_flows", "0 to 4294967295", Value("0"), "Flows at once; 0 is what the descriptor limit allows."),
    key(Table::Limits, "max_flows_per_source", "0 to 4294967295", Value("0"), "Flows at once of one source address (IPv6: /64); 0 is off."),
    key(Table::Limits, "new_flows_per_source", "0 to 4294967295", Value("0"), "New flows a second of one source address (IPv6: /64); 0 is off."),
    key(Table::Limits, "flow_table", "size, 1MiB to 1TiB", Value("\"256MiB\""), "Memory that the table of flows may take."),

    key(Table::Resolver, "nameservers", "addresses, with a port or without", Value("[]"), "Name servers to ask; none is the system's."),
    key(Table::Resolver, "stale_for", "duration, 0s to 168h", Value("\"1h\""), "How long the last answer is used when a name cannot be resolved."),

    key(Table::Api, "listen", "address:port", Value("\"127.0.0.1:9980\""), "Where it listens; off loopback only with `credentials`."),
    key(Table::Api, "account_id", "twelve digits", Value("\"000000000000\""), "The account that ARNs name."),
    key(Table::Api, "address_pool", "prefixes", Value("[\"127.77.0.0/24\"]"), "Where static addresses are taken from, IPv4 and IPv6; an IPv4 address that ends in 0 or 255 is not handed out."),
    key(Table::Api, "honour_interval", "boolean", Value("false"), "Probe as seldom as the API's 10 or 30 seconds say, instead of every second."),
    key(Table::Api, "verify_tls", "boolean", Value("false"), "Whether HTTPS checks of groups made by the API verify certificates; AWS's do not."),

    key(Table::Credential, "access_key_id", "1 to 128 letters, digits, underscores", Required, "As the client names it."),
    key(Table::Credential, "secret_access_key_file", "path", Required, "File with the secret key, one line."),
    key(Table::Credential, "session_token_file", "path", Absent("none"), "File with the session token that must come with the key, one line; without it the key comes without one."),

    key(Table::Aws, "import", "boolean", Value("true"), "Whether accelerators are made of what AWS says; `false` leaves credentials and endpoint to `[dns]`."),
    key(Table::Aws, "regions", "names", Value("[]"), "Where load balancers tagged `portolan:accelerator` are looked for; Global Accelerator's own endpoints carry their region."),
    key(Table::Aws, "endpoint_url", "`\"\"` or URL", Value("\"\""), "Every client's endpoint instead of AWS's own; the environment variables of AWS's tools, such as `AWS_ENDPOINT_URL_STS`, work without it."),
    key(Table::Aws, "account_id", "`\"\"` or twelve digits", Value("\"\""), "The account whose answers are believed; without it whichever the credentials belong to."),
    key(Table::Aws, "interval", "duration, 1s to 24h", Value("\"60s\""), "Time from one reading to the next, spread by a fifth."),
    key(Table::Aws, "calls_per_second", "1 to 1000", Value("10"), "Calls a second of one service and account."),
    key(Table::Aws, "burst", "1 to 10000", Value("100"), "Calls of one service and account that may come at once."),
    key(Table::Aws, "reach", "`\"public\"`, `\"private\"`", Value("\"public\""), "What can be reached from here: what faces the internet, or the networks themselves (VPN, Direct Connect), internal load balancers and private addresses included."),

    key(Table::AwsRole, "arn", "ARN of a role", Required, "Such as `\"arn:aws:iam::222222222222:role/portolan-sync-read\"`; the account is read from it."),
    key(Table::AwsRole, "external_id", "1 to 255 characters", Absent("none"), "What the role's trust policy asks for."),

    key(Table::AwsAddresses, "NAME", "addresses", Absent("the pool"), "Addresses of the accelerator with this name or ARN; put an ARN in quotes."),

    key(Table::Store, "path", "path", Value("\"portolan.redb\""), "Relative to this file; opened when `[api]` is there. What AWS said last lies beside it, in `portolan.aws.json`."),

    key(Table::EndpointAlias, "id", "1 to 255 characters", Required, "The id as API calls give it."),
    key(Table::EndpointAlias, "address", "address or name, with a port or without, or prefix", Required, "What it is reached by here; a prefix for a subnet of custom routing."),

    key(Table::Dns, "hosted_zone", "name or id", Required, "The zone: a value with a dot is its name, anything else its id."),
    key(Table::Dns, "owner", "name", Required, "Unique among all who write the zone; owner and PoP are the mark of what may be changed."),
    key(Table::Dns, "mode", "`\"observe\"`, `\"create-only\"`, `\"upsert-only\"`, `\"sync\"`", Value("\"observe\""), "What the edge may write by itself: nothing, what is not there, changes of its own too, deletes of its own too."),
    key(Table::Dns, "interval", "duration, 1s to 24h", Value("\"5m\""), "From one full comparison with the zone to the next."),
    key(Table::Dns, "create_zone", "boolean", Value("false"), "Whether a zone that is not there is made; needs its name."),

    key(Table::DnsRecord, "name", "name", Required, "In the zone; `*.` may lead it."),
    key(Table::DnsRecord, "set", "name", Absent("none"), "Tells several sets of this PoP under one name apart, such as one for each continent."),
    key(Table::DnsRecord, "accelerator", "name", Absent("none"), "Gives the addresses of this accelerator; `[pop] addresses` where it listens on every address."),
    key(Table::DnsRecord, "addresses", "`\"pop\"`", Absent("none"), "Gives `[pop] addresses`."),
    key(Table::DnsRecord, "alias", "name", Absent("none"), "Gives what this name gives: one of the zone, or a load balancer's."),
    key(Table::DnsRecord, "alias_zone", "id", Absent("the record's own"), "The hosted zone that `alias` is in; a load balancer's is found out where there is an `[aws]`."),
    key(Table::DnsRecord, "evaluate_target_health", "boolean", Value("false"), "Whether the alias is healthy only while what it names is."),
    key(Table::DnsRecord, "ttl", "seconds, 1 to 604800", Value("60"), "How long resolvers may keep it."),

    key(Table::DnsPolicy, "type", "`\"simple\"`, `\"weighted\"`, `\"latency\"`, `\"geolocation\"`, `\"geoproximity\"`, `\"failover\"`, `\"multivalue\"`", Value("\"simple\""), "How it is chosen."),
    key(Table::DnsPolicy, "weight", "0 to 255", Absent("none"), "`weighted`: its share; 0 is taken when all others are unhealthy."),
    key(Table::DnsPolicy, "region", "AWS region", Absent("none"), "`latency`, `geoproximity`: the region nearest to this PoP."),
    key(Table::DnsPolicy, "continent", "`\"AF\"`, `\"AN\"`, `\"AS\"`, `\"EU\"`, `\"NA\"`, `\"OC\"`, `\"SA\"`", Absent("none"), "`geolocation`: whoever is there."),
    key(Table::DnsPolicy, "country", "ISO 3166 letters or `\"*\"`", Absent("none"), "`geolocation`: whoever is there; `\"*\"` is everywhere else."),
    key(Table::DnsPolicy, "state", "two letters", Absent("none"), "`geolocation`: a state, with `country = \"US\"`."),
    key(Table::DnsPolicy, "local_zone_group", "name", Absent("none"), "`geoproximity`: where the PoP is."),
    key(Table::DnsPolicy, "latitude", "-90 to 90", Absent("none"), "`geoproximity`: where the PoP is, to two decimals."),
    key(Table::DnsPolicy, "longitude", "-180 to 180", Absent("none"), "`geoproximity`: where the PoP is, to two decimals."),
    key(Table::DnsPolicy, "bias", "-99 to 99", Absent("0"), "`geoproximity`: widens or narrows what is near to it."),
    key(Table::DnsPolicy, "role", "`\"primary\"`, `\"secondary\"`", Absent("none"), "`failover`: which of the two it is."),

    key(Table::DnsHealthCheck, "protocol", "`\"TCP\"`, `\"HTTP\"`, `\"HTTPS\"`", Value("\"HTTP\""), "What Route 53 asks; it verifies no certificate."),
    key(Table::DnsHealthCheck, "port", "1 to 65535", Absent("the port of `[readiness]`"), "Port that is asked."),
    key(Table::DnsHealthCheck, "path", "path and query", Value("\"/readyz\""), "What HTTP and HTTPS ask for."),
    key(Table::DnsHealthCheck, "host", "host", Absent("the address"), "Host header, and the name that HTTPS asks for."),
    key(Table::DnsHealthCheck, "search", "1 to 255 characters", Absent("any"), "Text that must be in the first 5120 bytes of the answer; costs extra."),
    key(Table::DnsHealthCheck, "interval", "`\"10s\"`, `\"30s\"`", Value("\"30s\""), "How often each checker asks; 10s costs extra."),
    key(Table::DnsHealthCheck, "threshold", "1 to 10", Value("3"), "Results in a row that change the state."),

    key(Table::Announce, "mode", "`\"interface\"`, `\"bird\"`, `\"exec\"`, one or more", Required, "`interface`: the addresses stand on an interface of this process and go with it. `bird`: BIRD includes a generated file. `exec`: a program is told."),
    key(Table::Announce, "interface", "name", Value("\"vip0\""), "The interface; needs CAP_NET_ADMIN."),
    key(Table::Announce, "bird_socket", "path", Value("\"/run/bird/bird.ctl\""), "BIRD's control socket."),
    key(Table::Announce, "bird_include", "path", Value("\"/etc/bird/portolan.conf\""), "The file that BIRD's configuration includes; written whole, and put back when BIRD refuses it."),
    key(Table::Announce, "command", "program and arguments", Value("[]"), "`exec`: reads on its input, as JSON, what is to be announced, at every change; anything but exit 0 is tried again."),
    key(Table::Announce, "asn", "1 to 4294967295", Absent("none"), "Our AS number, for `prepend`."),
    key(Table::Announce, "prepend", "0 to 16", Value("3"), "While an address is being left, so often our AS number is put in front of the path, beside the community GRACEFUL_SHUTDOWN."),
    key(Table::Announce, "drain", "duration, 0s to 1h", Value("\"10s\""), "So long an address that is being left stays announced as the worst choice before it is withdrawn."),
    key(Table::Announce, "hold", "duration, 0s to 1h", Value("\"5s\""), "After a withdrawal all must be well for so long before the address is announced again; twice as long for each withdrawal within ten minutes."),
    key(Table::Announce, "self_check", "`\"off\"` or duration, 200ms to 1h", Value("\"2s\""), "How often a connection is made to our own listeners on each address; three failures in a row withdraw it."),

    key(Table::Accelerator, "name", "name", Required, "Unique in the file."),
    key(Table::Accelerator, "enabled", "boolean", Value("true"), "Whether it takes new flows."),
    key(Table::Accelerator, "addresses", "addresses", Value("[]"), "Where it listens; none is every address of the host, IPv4 and IPv6."),

    key(Table::Listener, "protocol", "`\"TCP\"`, `\"UDP\"`", Required, "What it takes."),
    key(Table::Listener, "ports", "ports and ranges", Required, "Such as `[80, 443, \"8000-8100\"]`; more than 1000 ports need rights, see Port ranges."),
    key(Table::Listener, "client_affinity", "`\"NONE\"`, `\"SOURCE_IP\"`", Value("\"NONE\""), "Whether every flow is placed anew, or all flows of a client address go to one endpoint."),
    key(Table::Listener, "idle_timeout", "duration, 100ms to 168h", Value("\"340s\""), "A flow on which nothing moved for so long is closed; UDP 30s."),
    key(Table::Listener, "half_close_timeout", "duration, 100ms to 24h", Value("\"30s\""), "How long one direction may stay open after the other was closed."),
    key(Table::Listener, "connect_timeout", "duration, 50ms to 2m", Value("\"5s\""), "How long one connect to an endpoint may take."),
    key(Table::Listener, "connect_attempts", "1 to 10", Value("3"), "Endpoints that a flow may try, the first included."),
    key(Table::Listener, "hedge_after", "`\"auto\"`, `\"off\"` or duration, 1ms to 1m", Value("\"auto\""), "When a second endpoint is raced; `\"auto\"` is three times the usual connect time, at least 50ms."),
    key(Table::Listener, "keepalive", "duration, 1s to 9h", Value("\"60s\""), "TCP keepalive on both sides begins after so long in silence."),
    key(Table::Listener, "user_timeout", "duration, 100ms to 1h", Value("\"340s\""), "Sent data may stay unacknowledged, or a peer may read nothing, for so long (`TCP_USER_TIMEOUT`), on both sides."),
    key(Table::Listener, "expect_first_byte", "`\"off\"` or duration, 50ms to 1m", Value("\"off\""), "An endpoint that has taken clients' first bytes and answers none of three different clients for so long is said to hang; only where endpoints answer what clients say at once."),
    key(Table::Listener, "fail_open", "boolean", Value("true"), "Whether flows still go to the nearest group when no endpoint anywhere is available."),
    key(Table::Listener, "max_flows", "0 to 4294967295", Value("0"), "Flows at once; 0 is no cap of its own."),
    key(Table::Listener, "new_flows", "0 to 4294967295", Value("0"), "New flows a second; 0 is no cap; UDP 100000."),
    key(Table::Listener, "source_addresses", "addresses", Value("[]"), "Addresses of this host to connect to endpoints from, in turn; none is the system's choice."),
    key(Table::Listener, "quic", "boolean", Value("false"), "UDP: whether a QUIC connection stays with its endpoint when the client's address changes, by connection id."),

    key(Table::AcceptProxy, "from", "prefixes", Value("[]"), "Senders that are believed and must send a header; none is off."),
    key(Table::AcceptProxy, "timeout", "duration, 10ms to 1m", Value("\"3s\""), "How long the header may take."),

    key(Table::EndpointGroup, "region", "name", Required, "Unique under the listener, such as `\"us-east-1\"`."),
    key(Table::EndpointGroup, "traffic_dial", "0 to 100", Value("100.0"), "Percentage of the traffic that reaches this group which it takes; 0 is a standby."),
    key(Table::EndpointGroup, "latency", "`\"\"` or duration, 0s to 10s", Value("\"\""), "Distance of the group instead of the measured one, such as `\"12ms\"`."),
    key(Table::EndpointGroup, "proxy_protocol", "`\"off\"`, `\"v1\"`, `\"v2\"`", Value("\"off\""), "PROXY header toward the endpoints; `\"v1\"` is for TCP only."),
    key(Table::EndpointGroup, "client_address", "`\"edge\"`, `\"transparent\"`", Value("\"edge\""), "Whose address the endpoints see: the edge's, or the client's own where the network leads answers back here; TCP only."),
    key(Table::EndpointGroup, "on_unhealthy", "`\"reset\"`, `\"drain\"`, `\"keep\"`", Value("\"reset\""), "What live flows meet when their endpoint goes down."),
    key(Table::EndpointGroup, "reset_over", "duration, 0s to 10m", Value("\"1s\""), "Resets are spread over so long."),
    key(Table::EndpointGroup, "reset_rate", "1 to 1000000", Value("2000"), "Resets a second at most."),
    key(Table::EndpointGroup, "drain_timeout", "duration, 0s to 168h", Value("\"5m\""), "Flows that drain because their endpoint is unhealthy are reset after so long."),

    key(Table::HealthCheck, "protocol", "`\"TCP\"`, `\"HTTP\"`, `\"HTTPS\"`, `\"UDP\"`, `\"NONE\"`", Value("\"TCP\""), "What is asked; `\"NONE\"` is always up. Under a UDP listener, too, it is TCP unless given."),
    key(Table::HealthCheck, "port", "1 to 65535", Absent("the endpoint's, else the listener's first"), "Port that is asked."),
    key(Table::HealthCheck, "interval", "duration, 50ms to 1h", Value("\"1s\""), "Time from probe to probe."),
    key(Table::HealthCheck, "fast_interval", "duration, 50ms to `interval`", Value("\"200ms\""), "The same while an endpoint is changing its state; follows a shorter `interval`."),
    key(Table::HealthCheck, "timeout", "duration, 10ms to 1m", Value("\"2s\""), "How long an answer may take. Once others have failed, the connect that decides that an endpoint is silent waits for 1.5 round trips and 20 ms at most."),
    key(Table::HealthCheck, "threshold", "1 to 10", Value("3"), "Results in a row that change the state, both ways."),
    key(Table::HealthCheck, "healthy_threshold", "1 to 10", Absent("`threshold`"), "Passes in a row that bring an endpoint up."),
    key(Table::HealthCheck, "unhealthy_threshold", "1 to 10", Absent("`threshold`"), "Failures in a row that bring an endpoint down."),
    key(Table::HealthCheck, "jitter", "0 to 1", Value("0.1"), "Share of the interval by which probes are spread."),
    key(Table::HealthCheck, "path", "path and query", Value("\"/\""), "What HTTP and HTTPS ask for."),
    key(Table::HealthCheck, "host", "host", Absent("the endpoint's name or address"), "Host header of HTTP and HTTPS."),
    key(Table::HealthCheck, "status", "status or range, 100 to 599", Value("\"200-399\""), "Statuses that pass, such as `\"200-299\"` or `204`."),
    key(Table::HealthCheck, "body", "1 to 4096 bytes", Absent("any"), "Text that must be in the first 64 KiB of the answer."),
    key(Table::HealthCheck, "sni", "name", Absent("the endpoint's name"), "Name that HTTPS asks for and verifies."),
    key(Table::HealthCheck, "verify_tls", "boolean", Absent("`true` where every endpoint has a name or `sni` is given, else `false` with a warning"), "Whether the certificate must be valid for that name; `true` is an error for an endpoint without one."),
    key(Table::HealthCheck, "send", "text, or bytes as `0x…`, 1232 at most", Absent("an empty datagram"), "The datagram that a check over UDP sends."),
    key(Table::HealthCheck, "expect", "text, or bytes as `0x…`, 1232 at most", Absent("any answer"), "Bytes that the answer must hold."),

    key(Table::PortOverride, "listener_port", "1 to 65535", Required, "A port of the listener, once."),
    key(Table::PortOverride, "endpoint_port", "1 to 65535", Required, "The port that is connected to instead; a port of none of the accelerator's listeners."),

    key(Table::Endpoint, "address", "address or name, with a port or without", Required, "Such as `\"10.0.1.10\"`, `\"10.0.1.10:80\"`, `\"[2001:db8::1]:80\"`, `\"web.internal:8080\"`; without a port it is the listener's."),
    key(Table::Endpoint, "id", "1 to 255 characters", Absent("`address`"), "Unique in the group; what decides which clients go there, so keep it when the address changes."),
    key(Table::Endpoint, "weight", "0 to 255", Value("128"), "Share among the endpoints of the group; 0 takes nothing new."),
    key(Table::Endpoint, "max_flows", "0 to 4294967295", Value("0"), "Flows at once from this PoP; 0 is no cap."),
];
