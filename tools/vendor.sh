#!/usr/bin/env bash
# Put the browser code that the pages use (MathJax, RequireJS, the Jupyter widgets) into site/vendor.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -d site/vendor ]; then echo "site/vendor is there already (make clean removes it)"; exit; fi

new=$(mktemp -d site/.vendor-XXXXXX)
trap 'rm -rf "$new"' EXIT
unpack() {   # name@version folder: the npm package, unpacked into $new/folder
  mkdir "$new/$2"
  tar -xzf "$new/$(npm pack --silent --pack-destination "$new" "$1")" -C "$new/$2" --strip-components 1
}
unpack mathjax@3.2.2 from-mathjax
unpack requirejs@2.3.8 from-requirejs
unpack @jupyter-widgets/html-manager@1.0.15 from-widgets

mkdir -p "$new"/vendor/{widgets,mathjax/output/chtml/fonts}
cp "$new"/from-mathjax/es5/tex-mml-chtml.js "$new/vendor/mathjax"
cp -r "$new"/from-mathjax/es5/output/chtml/fonts/woff-v2 "$new/vendor/mathjax/output/chtml/fonts"
cp "$new"/from-requirejs/require.js "$new"/from-widgets/dist/{embed-amd.js,*.woff2} "$new/vendor/widgets"
chmod 755 "$new/vendor"
mv "$new/vendor" site/vendor   # whole or not at all
echo "site/vendor: $(du -sh site/vendor | cut -f1)"
