"""The TLS clients that may be installed here: how each is called, and which version it is.

Rules: a client fetches `https://localhost:PORT/` by TLS 1.3 with its defaults, takes any
certificate, and ends by itself or is ended. What is not installed is left out.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["CLIENTS", "REQUEST", "Client"]

REQUEST: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

_JAVA: Final = """
import java.net.URI;
import java.net.http.*;
import java.security.cert.X509Certificate;
import javax.net.ssl.*;

public class Fetch {
    public static void main(String[] arguments) throws Exception {
        System.setProperty("jdk.internal.httpclient.disableHostnameVerification", "true");
        X509TrustManager all = new X509ExtendedTrustManager() {
            public void checkClientTrusted(X509Certificate[] c, String a) {}
            public void checkClientTrusted(X509Certificate[] c, String a, java.net.Socket s) {}
            public void checkClientTrusted(X509Certificate[] c, String a, SSLEngine e) {}
            public void checkServerTrusted(X509Certificate[] c, String a) {}
            public void checkServerTrusted(X509Certificate[] c, String a, java.net.Socket s) {}
            public void checkServerTrusted(X509Certificate[] c, String a, SSLEngine e) {}
            public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
        };
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {all}, null);
        HttpClient client = HttpClient.newBuilder().sslContext(context).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
        client.send(request, HttpResponse.BodyHandlers.ofString());
    }
}
"""
_NODE: Final = """
require("https").get({host: "127.0.0.1", port: process.argv[1], servername: "localhost",
    rejectUnauthorized: false}, (answer) => answer.resume());
"""
_PYTHON: Final = """
import ssl, sys, urllib.request
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
urllib.request.urlopen(sys.argv[1], context=context).read()
"""


@dataclass(frozen=True, slots=True)
class Client:
    """``command`` makes a directory ready and gives what to run against a port."""

    name: str
    program: str
    version_command: tuple[str, ...]
    command: Callable[[Path, int], list[str]]

    @property
    def installed(self) -> bool:
        """Whether its program is there."""
        return shutil.which(self.program) is not None

    def version(self) -> str:
        """As it calls itself; of what follows the name only digits and dots."""
        done = subprocess.run(self.version_command, capture_output=True, text=True, timeout=30)
        found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        return "unknown" if found is None else found[0]


def _openssl(_: Path, port: int) -> list[str]:
    address = f"127.0.0.1:{port}"
    return ["openssl", "s_client", "-connect", address, "-servername", "localhost", "-ign_eof"]


def _gnutls(_: Path, port: int) -> list[str]:
    return ["gnutls-cli", "--insecure", "--sni-hostname=localhost", f"--port={port}", "127.0.0.1"]


def _nss(directory: Path, port: int) -> list[str]:
    store = f"sql:{directory}"
    subprocess.run(["certutil", "-N", "--empty-password", "-d", store], check=True)
    address = ["-h", "127.0.0.1", "-p", str(port), "-a", "localhost"]
    return ["tstclnt", *address, "-d", store, "-o", "-V", "tls1.2:tls1.3"]


def _java(directory: Path, port: int) -> list[str]:
    source = directory / "Fetch.java"
    source.write_text(_JAVA)
    return ["java", str(source), f"https://localhost:{port}/"]


def _chromium(directory: Path, port: int) -> list[str]:
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", "--disable-dev-shm-usage", "--ignore-certificate-errors"]
    return [*command, f"--user-data-dir={directory}", "--dump-dom", f"https://localhost:{port}/"]


def _curl(_: Path, port: int) -> list[str]:
    return ["curl", "--insecure", "--silent", f"https://localhost:{port}/"]


def _node(_: Path, port: int) -> list[str]:
    return ["node", "-e", _NODE, str(port)]


def _python(_: Path, port: int) -> list[str]:
    return [sys.executable, "-c", _PYTHON, f"https://localhost:{port}/"]


CLIENTS: Final = (
    Client("openssl", "openssl", ("openssl", "version"), _openssl),
    Client("gnutls", "gnutls-cli", ("gnutls-cli", "--version"), _gnutls),
    # tstclnt does not say which it is; the library's package does.
    Client("nss", "tstclnt", ("dpkg-query", "-W", "-f=${Version}", "libnss3"), _nss),
    Client("java", "java", ("java", "-version"), _java),
    Client("node", "node", ("node", "--version"), _node),
    Client("chromium", "chromium", ("chromium", "--version"), _chromium),
    Client("curl", "curl", ("curl", "--version"), _curl),
    Client("python", sys.executable, (sys.executable, "--version"), _python),
)
