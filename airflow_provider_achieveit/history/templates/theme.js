// As Airflow's own pages: its choice of light or dark is in the storage that both share.
const follow = () => {
  let theme = null;
  try { theme = localStorage.getItem("theme"); } catch { /* no storage: as the system is set */ }
  document.documentElement.dataset.theme = theme === "light" || theme === "dark" ? theme : "system";
};
follow();
addEventListener("storage", follow);
// Reached by a link, it stands alone and needs a way to Airflow; within Airflow's page it has one.
if (window === window.top) document.documentElement.dataset.alone = "";
