// @ts-check

/**
 * The page. A photo comes in by drop, paste or choice, becomes a card, is sent, and is then followed until
 * it is finished; a click on the card shows what was found. The API serves page.html with this file, those that it
 * imports and page.css inside it, under a policy that allows only these: no inline style or handler, no other host.
 *
 * File names, labels and messages are other people's words. They reach the page only as text (`textContent`,
 * a property), never as markup.
 */

import { startCards } from './cards.js'
import { startChoice } from './choice.js'
import { startDetail } from './detail.js'
import { startErase } from './erase.js'
import { startFollowing } from './follow.js'
import { startList } from './list.js'
import { startSamples } from './samples.js'
import { startSearch } from './search.js'
import { startSelection } from './selection.js'
import { addDropped, addFiles, addFolder } from './send.js'
import { BASE } from './server.js'
import { isUnsent, photos } from './store.js'
import { byId } from './tools.js'

/** @param {DragEvent} event */
const hasFiles = (event) => event.dataTransfer?.types.includes('Files') ?? false

addEventListener('dragover', (event) => {
  if (!hasFiles(event)) return
  event.preventDefault() // otherwise the browser would leave the page and show the file
  document.body.classList.add('dragging')
})
// Where the pointer goes comes before what it leaves. Safari has no `relatedTarget`.
/** @type {EventTarget | null} */
let entered = null
addEventListener('dragenter', (event) => {
  entered = event.target
})
addEventListener('dragleave', (event) => {
  if (event.target === entered) document.body.classList.remove('dragging')
})
addEventListener('drop', (event) => {
  document.body.classList.remove('dragging')
  if (!event.dataTransfer || !hasFiles(event)) return
  event.preventDefault()
  byId('detail', HTMLDialogElement).close()
  addDropped(event.dataTransfer)
})
addEventListener('paste', (event) => {
  const files = event.clipboardData?.files
  if (!files?.length) return
  byId('detail', HTMLDialogElement).close()
  addFiles(files)
})

for (const [id, add] of /** @type {const} */ ([
  ['files', addFiles],
  ['folder', addFolder],
])) {
  const input = byId(id, HTMLInputElement)
  input.onchange = () => {
    add(input.files ?? [])
    input.value = '' // the same may be chosen again
  }
}
// A phone has no folders to choose.
byId('folder-tool', HTMLElement).hidden = !('webkitdirectory' in HTMLInputElement.prototype)

// A download begins as if the page were left: soon, unless it fails or begins in another tab.
let isDownload = false
byId('download', HTMLElement).addEventListener('click', () => {
  isDownload = true
  setTimeout(() => {
    isDownload = false
  }, 10_000)
})
addEventListener('beforeunload', (event) => {
  if (!isDownload && [...photos.values()].some(isUnsent)) event.preventDefault()
  isDownload = false
})

byId('curl', HTMLElement).textContent = `curl -F image=@photo.jpg ${BASE}images`

startChoice()
startSamples()
startErase()
startSelection()
startFollowing()
startSearch() // before the list, which asks for what the filters say
// When the detail closes, the card's focus comes after it.
startDetail()
startCards()
startList()
