"""The HTTPS listener: .ebextensions/https.config, written once a certificate exists.

Option settings know no condition, so a listener for a certificate that does not exist would stop
every environment from being created; hence a file of its own, made on demand.
"""

from __future__ import annotations

import re
from pathlib import Path

from tools.ebctl.faults import EbctlError

TARGET = Path(".ebextensions/https.config")
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscertificatemanager.html
CERTIFICATE = re.compile(
    r"arn:aws(?:-[a-z-]+)?:(?:acm:[a-z0-9-]+:\d{12}:certificate/[0-9a-f-]{36}"
    r"|iam::\d{12}:server-certificate/[\w+=,.@/-]+)"
)
CONTENT = """\
# HTTPS at the load balancer, and http sent there. Written by `./ebctl https`.
option_settings:
  aws:elbv2:listener:443:
    Protocol: HTTPS
    # The certificate lives in the environment's region; ACM renews it by itself.
    SSLCertificateArns: {arn}
    # TLS 1.2 and 1.3, with forward secrecy.
    SSLPolicy: ELBSecurityPolicy-TLS13-1-2-2021-06

# The balancer itself answers http with a redirect; Django does the same where one gets through.
Resources:
  AWSEBV2LoadBalancerListener:
    Type: AWS::ElasticLoadBalancingV2::Listener
    Properties:
      LoadBalancerArn:
        Ref: AWSEBV2LoadBalancer
      Port: 80
      Protocol: HTTP
      DefaultActions:
        - Type: redirect
          RedirectConfig:
            Protocol: HTTPS
            Port: "443"
            Host: "#{{host}}"
            Path: "/#{{path}}"
            Query: "#{{query}}"
            StatusCode: HTTP_301
"""


def write(root: Path, arn: str) -> Path:
    """Write the file and return where it is.

    Raises:
        EbctlError: this is not the ARN of a certificate.
    """
    if not CERTIFICATE.fullmatch(arn):
        raise EbctlError(
            f"{arn!r} is not the ARN of a certificate, such as "
            "arn:aws:acm:eu-central-1:123456789012:certificate/... "
            "`aws acm list-certificates` lists yours."
        )
    target = root / TARGET
    target.write_text(CONTENT.format(arn=arn), encoding="utf-8")
    return target
