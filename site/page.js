// The theme's Font Awesome turns every <i class="fa"> into an <svg>, inside widgets too, and their
// Play button then fails. Let it look once, at load: before it is there, and once it is.
window.FontAwesomeConfig = { observeMutations: false };

window.addEventListener("load", () => {
  window.FontAwesome?.noAuto?.();
  // Widgets with HTML inside call MathJax 2; the page has MathJax 3.
  if (window.MathJax && !window.MathJax.Hub)
    window.MathJax.Hub = { Queue: ([, , element]) => window.MathJax.typesetPromise?.([element]) };
});
