// RequireJS looks for the fonts of the self-hosted widgets beside them, not at the site's root.
(function () {
  const widgets = new URL("vendor/widgets", document.currentScript.src).href;
  window.require.config({
    paths: { "@jupyter-widgets": widgets, "@jupyter-widgets/html-manager/dist": widgets },
  });
})();
