// @ts-check

/**
 * The question before photos are deleted.
 *
 * @import { Photo } from './store.js'
 */

import { ask, imageUrl } from './server.js'
import { deletions, neighbour, open, opened, remove } from './store.js'
import { byId, setText } from './tools.js'
import { announce, explain } from './words.js'

const dialog = byId('delete', HTMLDialogElement)
const yes = byId('delete-yes', HTMLButtonElement)
const no = byId('delete-no', HTMLButtonElement)
const problem = byId('delete-problem', HTMLElement)

/** @type {Photo[]} */
let doomed = []

/** @param {Photo[]} wanted */
function confirmDelete(wanted) {
  doomed = wanted
  const [only] = wanted
  const many = wanted.length > 1
  setText(byId('delete-title', HTMLElement), many ? `Delete ${wanted.length} photos?` : 'Delete this photo?')
  setText(byId('delete-name', HTMLElement), many ? 'They' : (only?.name ?? ''))
  setText(byId('delete-them', HTMLElement), many ? 'them' : 'it')
  setText(no, many ? 'Keep them' : 'Keep it')
  setText(problem, '')
  dialog.showModal()
}

async function deletePhotos() {
  yes.disabled = true
  /** @type {Photo[]} */
  const gone = []
  let trouble = ''
  for (const photo of doomed) {
    const answer = await ask(imageUrl(photo.key), { method: 'DELETE' })
    // 404: it was gone already.
    if (answer?.status === 204 || answer?.status === 404) {
      gone.push(photo)
      continue
    }
    const why = answer ? explain(answer).what : 'The server does not answer.'
    trouble = `${photo.name} is not deleted. ${why} Try it again.`
    break
  }
  yes.disabled = false
  doomed = doomed.filter((photo) => !gone.includes(photo))
  setText(problem, trouble)
  // First, so that the focus is back at a card, and moves to the next one.
  if (!trouble) dialog.close()
  for (const photo of gone) {
    const next = neighbour(photo, 1) ?? neighbour(photo, -1)
    if (opened === photo && next) open(next)
    remove(photo)
    announce(`${photo.name} is deleted.`)
  }
}

export function startErase() {
  deletions.subscribe(confirmDelete)
  yes.onclick = deletePhotos
  no.onclick = () => dialog.close()
}
