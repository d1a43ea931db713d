// The help pages link to templates as `?template=NAME&source=sgool`. The page wants the name of the folder that this pack is in, which is
// the user's choice, so it is put in when such a link is followed.

const [, , FOLDER] = new URL(import.meta.url).pathname.split("/") // /extensions/FOLDER/js/links.js
const SOURCE = "source=sgool"

function correct(event) {
  const link = event.target.closest?.(`a[href*="template="][href$="${SOURCE}"]`)
  if (link) link.href = link.href.replace(new RegExp(`${SOURCE}$`), `source=${FOLDER}`)
}

for (const kind of ["click", "auxclick", "contextmenu"]) document.addEventListener(kind, correct, true)
