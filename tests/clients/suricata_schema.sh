#!/bin/sh
# Puts the schema of EVE lines that Suricata publishes into a file: suricata_schema.sh FILE. From its project's repository,
# else out of the source that Debian unstable keeps of it, by the archive that this machine's apt takes Debian from. Nothing
# is installed. Ends with 1 where neither can be reached.
set -eu
file=$1
repository=https://raw.githubusercontent.com/OISF/suricata/master/etc/schema.json
if command -v curl >/dev/null && curl -sSfL --max-time 20 -o "$file" "$repository" 2>/dev/null; then
    exit 0
fi
mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb .*\(http[^ ]*\) .*/\1/p' /etc/apt/sources.list.d/debian.sources \
    /etc/apt/sources.list 2>/dev/null | head -1)
[ -n "$mirror" ] || { echo "suricata_schema.sh: apt has no source of Debian" >&2; exit 1; }
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/lists/partial" "$tree/cache/archives/partial"
: >"$tree/status"
echo "deb-src $mirror sid main" >"$tree/sources.list"
own="-o Dir::Etc::SourceList=$tree/sources.list -o Dir::Etc::SourceParts=- -o Dir::State=$tree
    -o Dir::State::Lists=$tree/lists -o Dir::State::Status=$tree/status -o Dir::Cache=$tree/cache
    -o Acquire::Languages=none -o APT::Sandbox::User=root -o APT::Get::Only-Source=true"
# shellcheck disable=SC2086
apt-get $own -qq update
# 'ADDRESS' NAME SIZE HASH; the original tar file is what its project published.
# shellcheck disable=SC2086
line=$(apt-get $own --print-uris source suricata | grep -m1 '\.orig\.tar\.[a-z]*'"' ")
address=$(echo "$line" | cut -d"'" -f2)
hash=$(echo "$line" | awk '{print $NF}')
/usr/lib/apt/apt-helper -qq download-file "$address" "$tree/source" "$hash"
tar -xf "$tree/source" -O --wildcards '*/etc/schema.json' >"$file"
[ -s "$file" ] || { echo "suricata_schema.sh: no schema in $address" >&2; exit 1; }
