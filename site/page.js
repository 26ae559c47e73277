// The contents, to the right of the text, fold while a picture as wide as the page is on screen.
document.addEventListener("DOMContentLoaded", () => {
  const contents = document.querySelector(".bd-sidebar-secondary"), shown = new Set();
  const watch = new IntersectionObserver(entries => {
    for (const { target, isIntersecting } of entries)
      shown[isIntersecting ? "add" : "delete"](target);
    contents?.classList.toggle("hide", shown.size > 0);
  });
  document.querySelectorAll(".srkit-wide").forEach(picture => watch.observe(picture));
});
