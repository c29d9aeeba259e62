#!/usr/bin/env bash
# fetch.sh DIR [VERSION]: copies the jars of a Kafka broker into DIR, once. The folder appears by a rename, so that an
# incomplete copy is never used.
set -euo pipefail
dir=$1 version=${2:-4.1.0}
[ -d "$dir" ] && exit 0

for tool in java mvn; do
    if ! command -v "$tool" >/dev/null; then
        echo "kafka-jars: '$tool' not found. The tests on a real Kafka need Java 17 or later and Maven" \
            "(Debian: apt install openjdk-17-jre-headless maven)." >&2
        exit 1
    fi
done

mkdir -p "$(dirname "$dir")"
part=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$part"' EXIT
echo "kafka-jars: copying the jars of Kafka $version to $dir (54 MB, once)"
mvn --batch-mode --quiet --file "$(dirname "$0")/pom.xml" dependency:copy-dependencies -Dkafka.version="$version" \
    -DoutputDirectory="$part"
chmod 755 "$part"
mv -T "$part" "$dir"
