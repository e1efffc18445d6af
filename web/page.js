// @ts-check

/**
 * The page. A photo comes in by drop, paste or choice, becomes a card, is sent, and is then followed until
 * it is finished; a click on the card shows what was found. The API serves page.html with this file, those that it
 * imports and page.css inside it, under a policy that allows nothing else: no inline style or handler, no other host.
 *
 * File names, labels and messages are other people's words. They reach the page only as text (`textContent`,
 * a property), never as markup.
 */

import { openAddressed } from './detail.js'
import { loadAsItScrolls, loadList, reloadList, showAll } from './list.js'
import { photos } from './photos.js'
import { onSearch, restoreFilters } from './search.js'
import './samples.js'
import { addDropped, addFiles, addFolder } from './send.js'
import { BASE } from './server.js'
import { byId } from './tools.js'

/** @param {DragEvent} event */
const hasFiles = (event) => event.dataTransfer?.types.includes('Files') ?? false

addEventListener('dragover', (event) => {
  if (!hasFiles(event)) return
  event.preventDefault() // otherwise the browser would leave the page and show the file
  document.body.classList.add('dragging')
})
addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) document.body.classList.remove('dragging')
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
  if (files?.length) addFiles(files)
})

for (const [id, add] of /** @type {const} */ ([
  ['files', addFiles],
  ['folder', addFolder],
])) {
  const input = byId(id, HTMLInputElement)
  input.addEventListener('change', () => {
    add(input.files ?? [])
    input.value = '' // the same may be chosen again
  })
}
// A phone has no folders to choose.
byId('folder-tool', HTMLElement).hidden = !('webkitdirectory' in HTMLInputElement.prototype)

addEventListener('beforeunload', (event) => {
  const unsent = [...photos.values()].some(({ phase }) => phase === 'waiting' || phase === 'uploading')
  if (unsent) event.preventDefault()
})

onSearch(reloadList)
byId('clear', HTMLButtonElement).onclick = () => {
  showAll()
  byId('label', HTMLInputElement).focus()
}
byId('curl', HTMLElement).textContent = `curl -F image=@photo.jpg ${BASE}images`

restoreFilters()
loadAsItScrolls()
loadList()
openAddressed()
