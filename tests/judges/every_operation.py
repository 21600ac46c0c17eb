"""AWS's own client against the API: every operation once with success, exceptions by their modelled classes, every paginator,
and the API's copy of the model against botocore's. Run by tests/tests/api_boto3.rs: every_operation.py ENDPOINT MODEL."""

import datetime
import json
import sys

import boto3
import botocore.exceptions
import botocore.loaders
from botocore.config import Config

ENDPOINT, MODEL = sys.argv[1], sys.argv[2]
called = set()


def client(**more):
    config = Config(retries={"max_attempts": 1}, **more)
    return boto3.client("globalaccelerator", endpoint_url=ENDPOINT, region_name="us-west-2", aws_access_key_id="AKIDEXAMPLE",
                        aws_secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", config=config)


ga = client()
ga.meta.events.register("after-call.global-accelerator.*", lambda model, **_: called.add(model.name))


def raises(name, call, **arguments):
    try:
        call(**arguments)
    except getattr(ga.exceptions, name) as error:
        assert error.response["Error"]["Message"] and error.response["ResponseMetadata"]["RequestId"], error.response
        return error
    raise AssertionError(f"{call.__name__} {arguments} did not raise {name}")


def the_model_is_botocores():
    theirs = botocore.loaders.Loader().load_service_model("globalaccelerator", "service-2")
    ours = json.load(open(MODEL, encoding="utf-8"))
    assert set(ours["operations"]) == set(theirs["operations"]), set(ours["operations"]) ^ set(theirs["operations"])
    assert set(ours["shapes"]) == set(theirs["shapes"]), set(ours["shapes"]) ^ set(theirs["shapes"])
    for name, operation in theirs["operations"].items():
        mine = ours["operations"][name]
        assert mine["input"] == operation.get("input", {}).get("shape"), name
        assert mine["output"] == operation.get("output", {}).get("shape"), name
        assert mine["errors"] == [error["shape"] for error in operation.get("errors", [])], name
    for name, shape in theirs["shapes"].items():
        mine = ours["shapes"][name]
        for key in ("type", "required", "enum", "min", "max", "pattern"):
            assert mine.get(key) == shape.get(key), (name, key)
        members = {member: to["shape"] for member, to in shape.get("members", {}).items()}
        assert mine.get("members", {}) == members, name
        assert mine.get("member") == shape.get("member", {}).get("shape"), name
    return len(theirs["operations"]), len(theirs["shapes"])


def standard():
    made = ga.create_accelerator(Name="boto3", Tags=[{"Key": "a", "Value": "1"}])["Accelerator"]
    arn = made["AcceleratorArn"]
    assert made["Status"] == "IN_PROGRESS" and made["Enabled"] is True and len(made["IpSets"][0]["IpAddresses"]) == 2, made
    assert isinstance(made["CreatedTime"], datetime.datetime) and made["CreatedTime"].tzinfo, made
    assert made["IpSets"][0]["IpAddressDetails"][0]["NetworkZone"], made
    while ga.describe_accelerator(AcceleratorArn=arn)["Accelerator"]["Status"] != "DEPLOYED":
        pass
    listener = ga.create_listener(AcceleratorArn=arn, PortRanges=[{"FromPort": 8081, "ToPort": 8082}], Protocol="TCP",
                                  ClientAffinity="SOURCE_IP")["Listener"]["ListenerArn"]
    assert listener.startswith(arn + "/listener/")
    described = ga.describe_listener(ListenerArn=listener)["Listener"]
    assert described["ClientAffinity"] == "SOURCE_IP" and described["PortRanges"] == [{"FromPort": 8081, "ToPort": 8082}]
    ga.update_listener(ListenerArn=listener, ClientAffinity="NONE")
    udp = ga.create_listener(AcceleratorArn=arn, PortRanges=[{"FromPort": 8081, "ToPort": 8081}], Protocol="UDP")["Listener"]
    error = raises("InvalidPortRangeException", ga.create_listener, AcceleratorArn=arn, Protocol="TCP",
                   PortRanges=[{"FromPort": 8082, "ToPort": 8083}])
    assert "overlaps with port range PortRange(fromPort=8081, toPort=8082) taken by listener " + listener in str(error), error
    group = ga.create_endpoint_group(ListenerArn=listener, EndpointGroupRegion="us-east-1",
                                     EndpointConfigurations=[{"EndpointId": "127.0.0.1:9", "Weight": 50}])["EndpointGroup"]
    group_arn = group["EndpointGroupArn"]
    assert group["TrafficDialPercentage"] == 100.0 and "HealthCheckPath" not in group and group["HealthCheckPort"] == 8081, group
    raises("EndpointGroupAlreadyExistsException", ga.create_endpoint_group, ListenerArn=listener, EndpointGroupRegion="us-east-1")
    group = ga.update_endpoint_group(EndpointGroupArn=group_arn, TrafficDialPercentage=12.5, HealthCheckProtocol="HTTP",
                                     HealthCheckPath="/up", HealthCheckIntervalSeconds=10, ThresholdCount=1,
                                     PortOverrides=[{"ListenerPort": 8081, "EndpointPort": 9090}])["EndpointGroup"]
    assert group["TrafficDialPercentage"] == 12.5 and group["HealthCheckPath"] == "/up", group
    assert ga.describe_endpoint_group(EndpointGroupArn=group_arn)["EndpointGroup"]["PortOverrides"], group
    added = ga.add_endpoints(EndpointGroupArn=group_arn, EndpointConfigurations=[{"EndpointId": "127.0.0.2:9"}])
    assert added["EndpointDescriptions"][0]["Weight"] == 128, added
    alb = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/web/50dc6c495c0c9188"
    error = raises("InvalidArgumentException", ga.add_endpoints, EndpointGroupArn=group_arn,
                   EndpointConfigurations=[{"EndpointId": alb}])
    assert "[[endpoint_alias]]" in str(error), error
    ga.remove_endpoints(EndpointGroupArn=group_arn, EndpointIdentifiers=[{"EndpointId": "127.0.0.2:9"}])
    ga.tag_resource(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    ga.untag_resource(ResourceArn=arn, TagKeys=["a", "never"])
    assert ga.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    ga.update_accelerator_attributes(AcceleratorArn=arn, FlowLogsEnabled=True, FlowLogsS3Bucket="b", FlowLogsS3Prefix="p")
    raises("InvalidArgumentException", ga.update_accelerator_attributes, AcceleratorArn=arn, FlowLogsS3Prefix="q")
    attributes = ga.describe_accelerator_attributes(AcceleratorArn=arn)["AcceleratorAttributes"]
    assert attributes == {"FlowLogsEnabled": True, "FlowLogsS3Bucket": "b", "FlowLogsS3Prefix": "p"}, attributes
    for operation in ("list_accelerators", "list_listeners", "list_endpoint_groups"):
        arguments = {"list_accelerators": {}, "list_listeners": {"AcceleratorArn": arn},
                     "list_endpoint_groups": {"ListenerArn": listener}}[operation]
        pages = list(ga.get_paginator(operation).paginate(PaginationConfig={"PageSize": 1}, **arguments))
        assert pages and "NextToken" not in pages[-1], pages
    raises("InvalidNextTokenException", ga.list_accelerators, NextToken="made-up")
    raises("InvalidArgumentException", ga.list_accelerators, MaxResults=1000)
    raises("AcceleratorNotDisabledException", ga.delete_accelerator, AcceleratorArn=arn)
    ga.update_accelerator(AcceleratorArn=arn, Enabled=False)
    raises("AssociatedListenerFoundException", ga.delete_accelerator, AcceleratorArn=arn)
    raises("AssociatedEndpointGroupFoundException", ga.delete_listener, ListenerArn=listener)
    ga.delete_endpoint_group(EndpointGroupArn=group_arn)
    raises("EndpointGroupNotFoundException", ga.describe_endpoint_group, EndpointGroupArn=group_arn)
    ga.delete_listener(ListenerArn=listener)
    ga.delete_listener(ListenerArn=udp["ListenerArn"])
    raises("ListenerNotFoundException", ga.delete_listener, ListenerArn=listener)
    ga.delete_accelerator(AcceleratorArn=arn)
    raises("AcceleratorNotFoundException", ga.describe_accelerator, AcceleratorArn=arn)


def custom_routing():
    made = ga.create_custom_routing_accelerator(Name="games", Enabled=True)["Accelerator"]
    arn = made["AcceleratorArn"]
    ga.describe_custom_routing_accelerator(AcceleratorArn=arn)
    ga.update_custom_routing_accelerator(AcceleratorArn=arn, Name="games-2")
    ga.update_custom_routing_accelerator_attributes(AcceleratorArn=arn, FlowLogsEnabled=False)
    ga.describe_custom_routing_accelerator_attributes(AcceleratorArn=arn)
    listener = ga.create_custom_routing_listener(AcceleratorArn=arn, PortRanges=[{"FromPort": 20000, "ToPort": 60000}])
    listener = listener["Listener"]["ListenerArn"]
    ga.describe_custom_routing_listener(ListenerArn=listener)
    ga.update_custom_routing_listener(ListenerArn=listener, PortRanges=[{"FromPort": 20000, "ToPort": 60001}])
    group = ga.create_custom_routing_endpoint_group(
        ListenerArn=listener, EndpointGroupRegion="us-east-1",
        DestinationConfigurations=[{"FromPort": 80, "ToPort": 81, "Protocols": ["TCP", "UDP"]}])["EndpointGroup"]
    group = group["EndpointGroupArn"]
    ga.describe_custom_routing_endpoint_group(EndpointGroupArn=group)
    ga.add_custom_routing_endpoints(EndpointGroupArn=group, EndpointConfigurations=[{"EndpointId": "10.0.0.0/18"}])
    raises("EndpointAlreadyExistsException", ga.add_custom_routing_endpoints, EndpointGroupArn=group,
           EndpointConfigurations=[{"EndpointId": "10.0.0.0/18"}])
    allow = {"EndpointGroupArn": group, "EndpointId": "10.0.0.0/18", "DestinationAddresses": ["10.0.0.4"]}
    ga.allow_custom_routing_traffic(DestinationPorts=[80], **allow)
    pages = ga.get_paginator("list_custom_routing_port_mappings").paginate(AcceleratorArn=arn,
                                                                            PaginationConfig={"PageSize": 20000})
    mappings = [mapping for page in pages for mapping in page["PortMappings"]]
    assert len(mappings) == (2 ** 14 - 5) * 2 and mappings[0]["DestinationTrafficState"] == "ALLOW", len(mappings)
    assert {mapping["DestinationTrafficState"] for mapping in mappings[1:]} == {"DENY"}
    by = ga.get_paginator("list_custom_routing_port_mappings_by_destination").paginate(
        EndpointId="10.0.0.0/18", DestinationAddress="10.0.0.4", PaginationConfig={"PageSize": 1})
    assert [m["DestinationTrafficState"] for page in by for m in page["DestinationPortMappings"]] == ["ALLOW", "DENY"]
    ga.deny_custom_routing_traffic(**allow)
    for operation, arguments in (("list_custom_routing_accelerators", {}), ("list_custom_routing_listeners", {"AcceleratorArn": arn}),
                                 ("list_custom_routing_endpoint_groups", {"ListenerArn": listener})):
        assert list(ga.get_paginator(operation).paginate(**arguments))
    ga.remove_custom_routing_endpoints(EndpointGroupArn=group, EndpointIds=["10.0.0.0/18"])
    raises("EndpointNotFoundException", ga.remove_custom_routing_endpoints, EndpointGroupArn=group, EndpointIds=["10.0.0.0/18"])
    ga.delete_custom_routing_endpoint_group(EndpointGroupArn=group)
    ga.delete_custom_routing_listener(ListenerArn=listener)
    ga.update_custom_routing_accelerator(AcceleratorArn=arn, Enabled=False)
    ga.delete_custom_routing_accelerator(AcceleratorArn=arn)


def the_rest():
    cidr = "203.0.113.0/24"
    raises("ByoipCidrNotFoundException", ga.advertise_byoip_cidr, Cidr=cidr)
    ga.provision_byoip_cidr(Cidr=cidr, CidrAuthorizationContext={"Message": "m", "Signature": "s"})
    assert ga.list_byoip_cidrs()["ByoipCidrs"][0]["State"] == "READY"
    ga.advertise_byoip_cidr(Cidr=cidr)
    raises("IncorrectCidrStateException", ga.deprovision_byoip_cidr, Cidr=cidr)
    ga.withdraw_byoip_cidr(Cidr=cidr)
    assert list(ga.get_paginator("list_byoip_cidrs").paginate())
    ga.deprovision_byoip_cidr(Cidr=cidr)
    made = ga.create_cross_account_attachment(Name="shared", Principals=["000000000000"],
                                              Resources=[{"EndpointId": "127.0.0.1", "Region": "us-east-1"}])
    arn = made["CrossAccountAttachment"]["AttachmentArn"]
    ga.describe_cross_account_attachment(AttachmentArn=arn)
    ga.update_cross_account_attachment(AttachmentArn=arn, Name="renamed")
    assert list(ga.get_paginator("list_cross_account_attachments").paginate())
    owners = ga.list_cross_account_resource_accounts()["ResourceOwnerAwsAccountIds"]
    assert owners == ["000000000000"], owners
    pages = ga.get_paginator("list_cross_account_resources").paginate(ResourceOwnerAwsAccountId=owners[0])
    assert [r["EndpointId"] for page in pages for r in page["CrossAccountResources"]] == ["127.0.0.1"]
    ga.delete_cross_account_attachment(AttachmentArn=arn)
    raises("AttachmentNotFoundException", ga.describe_cross_account_attachment, AttachmentArn=arn)


operations, shapes = the_model_is_botocores()
standard()
custom_routing()
the_rest()
missing = set(ga.meta.service_model.operation_names) - called
assert not missing, missing
print(f"boto3 {boto3.__version__}: {len(called)} operations called, {operations} operations and {shapes} shapes compared")
