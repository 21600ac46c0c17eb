//! A table of broken files: each error stands where the mark is, names its key, and says what to do.

use super::*;

struct Broken {
    file: String,
    key: &'static str,
    /// Words of what and remedy.
    words: &'static [&'static str],
}

fn broken(file: impl Into<String>, key: &'static str, words: &'static [&'static str]) -> Broken {
    Broken {
        file: file.into(),
        key,
        words,
    }
}

const L: &str = "accelerator[0].listener[0]";

#[rustfmt::skip] // one row a line
fn process_tables() -> Vec<Broken> {
    vec![
        broken("[pop]\n¶nmae = \"fra1\"", "pop.nmae", &["unknown key", "did you mean \"name\"?"]),
        broken("[pop]\nname = ¶3", "pop.name", &["found an integer", "expected a string"]),
        broken("[pop]\nname = ¶\"two words\"", "pop.name", &["two words", "1 to 64"]),
        broken("[pop]\nname = ¶\"\"", "pop.name", &["1 to 64"]),
        broken("[pop]\nworkers = ¶257", "pop.workers", &["257", "give 0 to 256"]),
        broken("[pop]\nworkers = ¶-1", "pop.workers", &["give 0 to 256"]),
        broken("[pop]\nworkers = ¶99999999999999999999", "pop.workers", &["give 0 to 256"]),
        broken("[pop]\nworkers = ¶1.5", "pop.workers", &["found a float", "whole number"]),
        broken("[pop]\naddresses = ¶\"192.0.2.1\"", "pop.addresses", &["expected an array"]),
        broken("[pop]\naddresses = [\"192.0.2.1\", ¶\"192.0.2.1/24\"]", "pop.addresses[1]", &["not an IP address"]),
        broken("[pop]\naddresses = [\"192.0.2.1\",\n  ¶\"::ffff:192.0.2.1\"]", "pop.addresses[1]", &["given twice", "remove"]),
        broken("[pop]\nstate_file = ¶\"\"", "pop.state_file", &["not a path"]),
        broken("pop = ¶3", "pop", &["expected a table"]),
        broken("¶[tls]\nlisten = \"127.0.0.1:9980\"".replace("¶[", "[¶"), "tls", &["unknown key", "accelerator"]),
        broken("¶idle_timeout = \"1s\"", "idle_timeout", &["unknown key", "[[accelerator.listener]]"]),
        broken("[admin]\nlisten = ¶\"0.0.0.0:9900\"", "admin.listen", &["token_file"]),
        broken("[api]\nlisten = ¶\"0.0.0.0:9980\"", "api.listen", &["credentials", "127.0.0.1"]),
        broken("[api]\nlisten = ¶\"127.0.0.1:9900\"", "api.listen", &["taken by admin.listen"]),
        broken("[api]\naccount_id = ¶\"12345678901\"", "api.account_id", &["twelve digits"]),
        broken("[api]\naddress_pool = [¶\"127.77.0.0/31\"]", "api.address_pool[0]", &["no two addresses"]),
        broken("[api]\ncredentials = [¶{ access_key_id = \"AK\" }]", "api.credentials[0].secret_access_key_file", &["missing"]),
        broken("[[endpoint_alias]]\nid = \"i-1\"\naddress = ¶\"10.0.0.0/33\"", "endpoint_alias[0].address", &["not a prefix"]),
        broken("[admin]\nlisten = ¶\"9900\"", "admin.listen", &["127.0.0.1:9900"]),
        broken("¶[readiness]\n", "readiness.listen", &["missing", "address:port"]),
        broken("[readiness]\nlisten = ¶\"127.0.0.1:9900\"", "readiness.listen", &["taken by admin.listen"]),
        broken("[readiness]\nlisten = ¶\"0.0.0.0:9900\"", "readiness.listen", &["taken by admin.listen"]),
        broken("[shutdown]\ndrain = ¶30", "shutdown.drain", &["bare number 30", "\"30s\""]),
        broken("[shutdown]\ndrain = ¶\"30\"", "shutdown.drain", &["not a duration", "250ms"]),
        broken("[shutdown]\ndrain = ¶\"25h\"", "shutdown.drain", &["25h", "\"0s\" to \"24h\""]),
        broken("[log]\nformat = ¶\"xml\"", "log.format", &["\"text\" or \"json\""]),
        broken("[log]\nsample = ¶1.01", "log.sample", &["give 0 to 1"]),
        broken("[log]\nsample = ¶nan", "log.sample", &["give 0 to 1"]),
        broken("[limits]\nmax_flows = ¶4294967296", "limits.max_flows", &["4294967295"]),
        broken("[limits]\nflow_table = ¶\"256MB\"", "limits.flow_table", &["not a size", "MiB"]),
        broken("[limits]\nflow_table = ¶\"1KiB\"", "limits.flow_table", &["\"1MiB\" to \"1TiB\""]),
        broken("[resolver]\nnameservers = [¶\"dns.example\"]", "resolver.nameservers[0]", &["name server", "127.0.0.1:5353"]),
        broken("[resolver]\nstale_for = ¶\"1d\"", "resolver.stale_for", &["not a duration"]),
    ]
}

#[rustfmt::skip] // one row a line
fn accelerators_and_listeners() -> Vec<Broken> {
    let second = |lines: &str| format!("{}[[accelerator.listener]]\n{lines}\n", listener(""));
    vec![
        broken("¶[accelerator]\nname = \"a\"", "accelerator", &["found a table", "[[accelerator]]"]),
        broken("accelerator = [¶3]", "accelerator[0]", &["expected a table"]),
        broken("¶[[accelerator]]\n[[accelerator.listener]]\nprotocol = \"TCP\"\nports = [1]", "accelerator[0].name", &["missing"]),
        broken("[[accelerator]]\nname = \"a\"\n[[accelerator]]\nname = ¶\"a\"", "accelerator[1].name", &["accelerator[0]"]),
        broken("[[accelerator]]\nname = ¶\"-a\"", "accelerator[0].name", &["letter or digit"]),
        broken("[[accelerator]]\nname = \"a\"\nenabled = ¶\"yes\"", "accelerator[0].enabled", &["true or false"]),
        broken("[[accelerator]]\nname = \"a\"\naddresses = [¶\"0.0.0.0\"]", "accelerator[0].addresses[0]", &["0.0.0.0", "unicast"]),
        broken("[[accelerator]]\nname = \"a\"\naddresses = [¶\"224.0.0.1\"]", "accelerator[0].addresses[0]", &["unicast"]),
        broken("[[accelerator]]\nname = \"a\"\n¶[[accelerator.listener]]\nprotocol = \"TCP\"", "accelerator[0].listener[0].ports", &["missing", "ports and ranges"]),
        broken("[[accelerator]]\nname = \"a\"\n¶[[accelerator.listener]]\nports = [1]", "accelerator[0].listener[0].protocol", &["missing", "TCP"]),
        broken(second("protocol = ¶\"tcp\"\nports = [1]"), "accelerator[0].listener[1].protocol", &["\"TCP\" or \"UDP\""]),
        broken(second("protocol = \"TCP\"\nports = ¶[]"), "accelerator[0].listener[1].ports", &["no port"]),
        broken(second("protocol = \"TCP\"\nports = ¶80"), "accelerator[0].listener[1].ports", &["expected an array"]),
        broken(second("protocol = \"TCP\"\nports = [1, ¶0]"), "accelerator[0].listener[1].ports[1]", &["give 1 to 65535"]),
        broken(second("protocol = \"TCP\"\nports = [¶65536]"), "accelerator[0].listener[1].ports[0]", &["give 1 to 65535"]),
        broken(second("protocol = \"TCP\"\nports = [¶\"20-10\"]"), "accelerator[0].listener[1].ports[0]", &["ends before", "\"10-20\""]),
        broken(second("protocol = \"TCP\"\nports = [¶\"http\"]"), "accelerator[0].listener[1].ports[0]", &["not a port"]),
        broken(second("protocol = \"TCP\"\nports = [¶true]"), "accelerator[0].listener[1].ports[0]", &["found a boolean"]),
        broken(second("protocol = \"TCP\"\nports = ¶[8080, \"8000-8100\"]"), "accelerator[0].listener[1].ports", &["comes twice"]),
        broken(second("protocol = \"TCP\"\nports = ¶[\"70-90\"]"), "accelerator[0].listener[1].ports", &["70-90 meets TCP 80", L]),
        broken(listener("client_affinity = ¶\"source_ip\""), "accelerator[0].listener[0].client_affinity", &["SOURCE_IP"]),
        broken(listener("¶idle_timout = \"5s\""), "accelerator[0].listener[0].idle_timout", &["did you mean \"idle_timeout\"?"]),
        broken(listener("quic = ¶1"), "accelerator[0].listener[0].quic", &["true or false"]),
        broken(listener("idle_timeout = ¶\"1ms\""), "accelerator[0].listener[0].idle_timeout", &["\"100ms\" to \"168h\""]),
        broken(listener("connect_attempts = ¶0"), "accelerator[0].listener[0].connect_attempts", &["give 1 to 10"]),
        broken(listener("connect_attempts = ¶11"), "accelerator[0].listener[0].connect_attempts", &["give 1 to 10"]),
        broken(listener("hedge_after = ¶\"soon\""), "accelerator[0].listener[0].hedge_after", &["\"auto\"", "\"off\""]),
        broken(listener("hedge_after = ¶false"), "accelerator[0].listener[0].hedge_after", &["\"off\""]),
        broken(listener("keepalive = ¶\"10h\""), "accelerator[0].listener[0].keepalive", &["\"1s\" to \"9h\""]),
        broken(listener("accept_proxy = { from = [¶\"10.0.0.0/33\"] }"), "accelerator[0].listener[0].accept_proxy.from[0]", &["not a prefix"]),
        broken(listener("accept_proxy = { ¶form = [] }"), "accelerator[0].listener[0].accept_proxy.form", &["did you mean \"from\"?"]),
        broken(listener("accept_proxy = ¶true"), "accelerator[0].listener[0].accept_proxy", &["expected a table"]),
        broken(listener("source_addresses = [¶\"eth0\"]"), "accelerator[0].listener[0].source_addresses[0]", &["not an IP address"]),
        broken(listener("¶traffic_dial = 50"), "accelerator[0].listener[0].traffic_dial", &["belongs to [[accelerator.listener.endpoint_group]]"]),
    ]
}

const G: &str = "accelerator[0].listener[0].endpoint_group[0]";

#[rustfmt::skip] // one row a line
fn groups() -> Vec<Broken> {
    let at = |key: &str| -> &'static str { format!("{G}.{key}").leak() };
    vec![
        broken(listener("¶[[accelerator.listener.endpoint_group]]"), at("region"), &["missing"]),
        broken(group("[[accelerator.listener.endpoint_group]]\nregion = ¶\"r1\""), "accelerator[0].listener[0].endpoint_group[1].region", &["endpoint_group[0]"]),
        broken(group("traffic_dial = ¶100.5"), at("traffic_dial"), &["give 0 to 100"]),
        broken(group("traffic_dial = ¶-1"), at("traffic_dial"), &["give 0 to 100"]),
        broken(group("latency = ¶\"11s\""), at("latency"), &["\"0s\" to \"10s\""]),
        broken(group("proxy_protocol = ¶\"v3\""), at("proxy_protocol"), &["\"v2\""]),
        broken(group("proxy_protocol = ¶\"v1\"").replace("TCP", "UDP"), at("proxy_protocol"), &["UDP", "\"v2\""]),
        broken(group("on_unhealthy = ¶\"kill\""), at("on_unhealthy"), &["\"reset\" or \"drain\" or \"keep\""]),
        broken(group("reset_rate = ¶0"), at("reset_rate"), &["give 1 to 1000000"]),
        broken(group("client_address = ¶\"transparent\"").replace("TCP", "UDP"), at("client_address"), &["UDP", "\"v2\""]),
        broken(group("client_address = ¶\"client\""), at("client_address"), &["\"edge\" or \"transparent\""]),
        broken(group("port_overrides = [{ listener_port = ¶81, endpoint_port = 8080 }]"), at("port_overrides[0].listener_port"), &["81", "give one of 80"]),
        broken(group("port_overrides = [{ listener_port = 80, endpoint_port = ¶80 }]"), at("port_overrides[0].endpoint_port"), &["80 is a port of", L]),
        broken(group("port_overrides = [{ listener_port = 80, endpoint_port = 8080 },\n{ listener_port = ¶80, endpoint_port = 8081 }]"), at("port_overrides[1].listener_port"), &["port_overrides[0]"]),
        broken(group("port_overrides = [¶{ listener_port = 80 }]"), at("port_overrides[0].endpoint_port"), &["missing", "1 to 65535"]),
        broken(group("port_overrides = ¶{ listener_port = 80, endpoint_port = 8080 }"), at("port_overrides"), &["expected an array of tables"]),
    ]
}

#[rustfmt::skip] // one row a line
fn health_checks() -> Vec<Broken> {
    let at = |key: &str| -> &'static str { format!("{G}.health_check.{key}").leak() };
    vec![
        broken(group("health_check = ¶\"TCP\""), format!("{G}.health_check").leak(), &["expected a table"]),
        broken(check("protocol = ¶\"GRPC\""), at("protocol"), &["\"TCP\" or \"HTTP\" or \"HTTPS\" or \"UDP\" or \"NONE\""]),
        broken(check("port = ¶0"), at("port"), &["give 1 to 65535"]),
        broken(check("interval = ¶\"49ms\""), at("interval"), &["\"50ms\" to \"1h\""]),
        broken(check("interval = \"100ms\", fast_interval = ¶\"101ms\""), at("fast_interval"), &["\"50ms\" to \"100ms\""]),
        broken(check("timeout = ¶\"0s\""), at("timeout"), &["\"10ms\" to \"1m\""]),
        broken(check("threshold = ¶0"), at("threshold"), &["give 1 to 10"]),
        broken(check("healthy_threshold = ¶11"), at("healthy_threshold"), &["give 1 to 10"]),
        broken(check("unhealthy_threshold = ¶\"3\""), at("unhealthy_threshold"), &["whole number"]),
        broken(check("jitter = ¶2"), at("jitter"), &["give 0 to 1"]),
        broken(check("protocol = \"HTTP\", path = ¶\"healthz\""), at("path"), &["leading slash"]),
        broken(check("protocol = \"HTTP\", path = ¶\"/a b\""), at("path"), &["%-encoded"]),
        broken(check("protocol = \"HTTP\", host = ¶\"a\\r\\nb: c\""), at("host"), &["not a host"]),
        broken(check("protocol = \"HTTP\", status = ¶\"399-200\""), at("status"), &["100 to 599"]),
        broken(check("protocol = \"HTTP\", status = ¶99"), at("status"), &["100 to 599"]),
        broken(check("protocol = \"HTTP\", body = ¶\"\""), at("body"), &["1 to 4096 bytes"]),
        broken(check("protocol = \"HTTPS\", sni = ¶\"10.0.0.1\""), at("sni"), &["last label"]),
        broken(check("protocol = \"HTTPS\", verify_tls = ¶true").replace("web.internal", "10.0.0.1"), at("verify_tls"), &["no name to verify", "give sni"]),
        broken(check("protocol = \"UDP\", send = ¶\"0x0\""), at("send"), &["not hexadecimal", "two digits"]),
        broken(check("protocol = \"UDP\", expect = ¶\"0xzz\""), at("expect"), &["not hexadecimal"]),
    ]
}

#[rustfmt::skip] // one row a line
fn endpoints_in_a_group() -> Vec<Broken> {
    let at = |key: &str| -> &'static str { format!("{G}.endpoints[{key}").leak() };
    vec![
        broken(endpoints("¶{ id = \"a\" }"), at("0].address"), &["missing", "address or name"]),
        broken(endpoints("¶\"10.0.0.1\""), at("0]"), &["expected a table"]),
        broken(address("¶\"\""), at("0].address"), &["empty"]),
        broken(address("¶\"256.1.1.1\""), at("0].address"), &["last label is a number"]),
        broken(address("¶\"10.0.0.1:0\""), at("0].address"), &["give 1 to 65535"]),
        broken(address("¶\"10.0.0.1:http\""), at("0].address"), &["not a port"]),
        broken(address("¶\"http://10.0.0.1\""), at("0].address"), &["not an address"]),
        broken(address("¶\"2001:db8::1:80:99999\""), at("0].address"), &["brackets"]),
        broken(address("¶\"[2001:db8::1]80\""), at("0].address"), &["not an address"]),
        broken(address("¶\"[10.0.0.1]:80\""), at("0].address"), &["not an IPv6 address"]),
        broken(address("¶\"-web.internal\""), at("0].address"), &["hyphen"]),
        broken(address("¶\"wéb.internal\""), at("0].address"), &["xn--"]),
        broken(address("¶\"0.0.0.0:80\""), at("0].address"), &["unicast"]),
        broken(endpoints("{ address = \"10.0.0.1\", weight = ¶256 }"), at("0].weight"), &["give 0 to 255"]),
        broken(endpoints("{ address = \"10.0.0.1\", max_flows = ¶-1 }"), at("0].max_flows"), &["give 0"]),
        broken(endpoints("{ address = \"10.0.0.1\", ¶wieght = 1 }"), at("0].wieght"), &["did you mean \"weight\"?"]),
        broken(endpoints("{ address = \"10.0.0.1\", id = ¶\"a b\" }"), at("0].id"), &["without spaces"]),
        broken(endpoints("{ address = \"10.0.0.1\" }, { address = ¶\"10.0.0.1\" }"), at("1].address"), &["endpoints[0]"]),
        broken(endpoints("{ address = \"Web.Internal\" }, { address = ¶\"web.internal.\" }"), at("1].address"), &["endpoints[0]"]),
        broken(endpoints("{ id = \"a\", address = \"10.0.0.1\" },\n{ id = ¶\"a\", address = \"10.0.0.2\" }"), at("1].id"), &["\"a\" is the id of endpoints[0]"]),
    ]
}

#[rustfmt::skip] // one row a line
fn syntax() -> Vec<Broken> {
    vec![
        broken("[pop\n", "pop", &["not TOML", "expected `]`"]).at("[pop¶\n"),
        broken("[pop]\nname = ¶fra1", "pop.name", &["put text in quotes", "\"fra1\""]),
        broken("[pop]\nname = \"a\"\n¶name = \"b\"", "pop.name", &["`name` is given twice", "remove"]),
        broken("[pop]\nname = \"a\n¶".replace("\n¶", "¶\n"), "pop.name", &["not TOML"]),
        broken("[pop]\nname = \"a\"\n[log]\n[¶pop]\n", "pop", &["given twice"]),
        broken("[shutdown]\ndrain = ¶30s", "shutdown.drain", &["\"30s\""]),
        broken("\u{feff}pop = ¶3", "pop", &["expected a table"]),
        broken("\r\n[pop]\r\nname = \"é\\u00e9\" # é\r\n¶x = 1", "pop.x", &["unknown key"]).but_first("pop.name"),
    ]
}

impl Broken {
    fn at(mut self, file: &str) -> Broken {
        self.file = file.to_string();
        self
    }

    /// A further error before the marked one, itself of no interest.
    fn but_first(self, key: &str) -> Broken {
        let (text, _) = unmark(&self.file);
        assert_eq!(errors(&text)[0].key, key);
        Broken {
            file: self.file.replace("é\\u00e9", "e"),
            ..self
        }
    }
}

#[test]
fn every_error_has_its_place_key_and_remedy() {
    let all = [
        process_tables(),
        accelerators_and_listeners(),
        groups(),
        health_checks(),
        endpoints_in_a_group(),
        syntax(),
    ];
    let mut wrong = Vec::new();
    for Broken { file, key, words } in all.into_iter().flatten() {
        let (text, places) = unmark(&file);
        let (line, column) = places[0];
        let found = errors(&text);
        let shown: Vec<String> = found.iter().map(Problem::to_string).collect();
        let expected = format!("{FILE}:{line}:{column}: {key}: ");
        let said = |word: &&str| shown[0].contains(*word);
        if shown.len() != 1 || !shown[0].starts_with(&expected) || !words.iter().all(said) {
            wrong.push(format!(
                "{text}\nexpected {expected}{words:?}\nfound {shown:#?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_the_file() {
    let (text, places) = unmark(
        "[pop]\nworkers = ¶1000\n¶nmae = \"x\"\n[log]\nformat = ¶xml\n[[accelerator]]\nname = \"a\"\n\
         [[accelerator.listener]]\nprotocol = \"TCP\"\nports = ¶[80, \"70-90\"]\n\
         [[accelerator.listener.endpoint_group]]\nregion = \"r1\"\nendpoints = [\n  { address = \"10.0.0.1\", weight = ¶300 },\n]\n",
    );
    let found: Vec<_> = errors(&text).iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(found, places);
}

#[test]
fn an_unclosed_array_invents_no_errors_elsewhere() {
    let found = errors("ports = [80, 443\n[pop]\nworkers = 1000\n");
    assert!(
        found
            .iter()
            .all(|problem| !problem.what.contains("unknown"))
    );
    assert!(found[0].what.contains("not TOML"), "{}", found[0]);
}

#[test]
fn a_file_that_is_no_text_or_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    let missing = super::super::load(&path).unwrap_err().to_string();
    assert!(missing.contains("p.toml: cannot be read: "), "{missing}");
    std::fs::write(&path, b"[pop]\nname = \"\xff\"").unwrap();
    let binary = super::super::load(&path).unwrap_err().to_string();
    assert!(
        binary.ends_with("p.toml:2:9: pop.name: not UTF-8 text; save the file as UTF-8"),
        "{binary}"
    );
}

#[test]
fn a_thousand_errors_are_listed_and_the_rest_counted() {
    let text: String = (0..1500).map(|i| format!("key{i} = 1\n")).collect();
    let shown = parse(&text).unwrap_err().to_string();
    assert_eq!(shown.lines().count(), 1001);
    assert!(shown.ends_with("and 500 more errors"));
}

#[test]
fn a_message_is_one_short_line_whatever_the_value_is() {
    let text = address(&format!("\"a\\n\\u001b[2J\\u202e{}\"", "b".repeat(10_000)));
    let shown = errors(&text)[0].to_string();
    assert!(
        !shown.contains(|c: char| c.is_control() || c == '\u{202e}'),
        "{shown}"
    );
    assert!(shown.contains("\"a\\n\\u{1b}[2J\\u{202e}bbb"), "{shown}");
    assert!(shown.chars().count() < 1000);
}
