# What every stand-in stands on: Debian 12, with this machine's certificates so that pip works behind any of its proxies.
FROM standin/debian
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY pip.conf /etc/pip.conf
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 LANG=C.UTF-8
