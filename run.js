import { spawn } from 'node:child_process'
import { dirname, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/**
 * Runs a TypeScript file as it is, which Node does from 22.18 on: in this process if it is new enough, otherwise by the
 * Node that `npm ci` has brought along. (npm 11 puts that one first on the path of scripts; npm 10 does not.)
 */
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const [file = '', ...args] = process.argv.slice(2)

// Glibc keeps an arena for each thread, in which libvips leaves holes: with two of them `npm start` grows a third as
// much and stays there (the worker on AWS has the same, worker.tf). And what is larger than a megabyte
// goes back when it is freed, a tenth of the peak over the worst pictures. Glibc reads both when a process begins.
// Other programs soon end, and would take a twelfth longer.
const sparing = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '1000000' }
// With 16 MB for young objects a worker that waits would let them fill first: 115 MB in place of 100, and 295 in place of 250
// once it has worked. With 4 MB it takes no more of the processor (60 photos of 12 megapixels).
const young = file === 'worker/main.ts' ? ['--max-semi-space-size=4'] : []
const decodes = ['local/main.ts', 'rekognition/main.ts', 'worker/main.ts'].includes(file)
// Bun and Deno say that they are Node 26, and lack what these programs need of it: threads with options, a collector to call.
const { bun, deno } = process.versions
if (decodes && (bun ?? deno) !== undefined) {
  console.error(
    `This is ${bun ? `Bun ${bun}` : `Deno ${deno}`}, and ${file} runs on Node only: start it with npm, or with "node run.js ${file}".`,
  )
  process.exit(1)
}
// The AWS CLI reads AWS_CA_BUNDLE; the SDK for JavaScript trusts what Node has read when its process began.
const { AWS_CA_BUNDLE: bundle, NODE_EXTRA_CA_CERTS: trusted } = process.env
const trust = bundle && !trusted && { NODE_EXTRA_CA_CERTS: bundle }
const env = { ...(decodes && sparing), ...process.env, ...trust }
const isLate = trust || (decodes && process.platform === 'linux' && !process.env.MALLOC_ARENA_MAX)

// npm passes SIGTERM on to the shell that it runs a script in, and dash ends by it without its child: the process has another
// parent then, and gives itself the signal: soon enough to be taken for one with that of a terminal that closes (endInOrder).
const orphaned = `import{isMainThread}from'node:worker_threads';const{ppid}=process;const end=()=>{if(process.ppid===ppid)return;
clearInterval(look);process.kill(process.pid,'SIGTERM')};const look=isMainThread&&setInterval(end,400).unref()`
const watch = `data:text/javascript,${orphaned}`
const stripTypes = new URL('build/strip-types.js', import.meta.url).href
const isOfNpm = process.env.npm_lifecycle_event !== undefined

if (major > 22 || (major === 22 && minor >= 18)) {
  const options = [...process.execArgv, ...young, ...importing(stripTypes, ...(isOfNpm ? [watch] : []))]
  // In place of this process, so that its parent keeps the id. (Node 23 before 23.11 cannot, and grows.)
  if (isLate) process.execve?.(process.execPath, [process.execPath, ...options, file, ...args], env)
  if (isOfNpm) await import(watch)
  await import(stripTypes)
  // As Node itself would have it: a file that is started, rather than imported, knows itself by its whole path.
  process.argv.splice(1, 2, resolve(file))
  await import(pathToFileURL(resolve(file)).href)
} else {
  const packages = ['linux-x64', 'linux-arm64', 'darwin-x64', 'bin-darwin-arm64', 'win-x64']
  const node = packages.map(find).find((found) => found !== undefined)
  if (node === undefined) {
    console.error(
      `This is Node ${process.versions.node}, and 22 is not installed beside it: run "npm ci" first.`,
    )
    process.exit(1)
  }
  const path = `${dirname(node)}${process.platform === 'win32' ? ';' : ':'}${process.env.PATH ?? ''}`
  // By the channel between them the child hears of this one's end, also where a kill -9 leaves no time to pass it on.
  const ending = `process.channel?.unref();process.on('disconnect',()=>process.kill(process.pid,'SIGTERM'))`
  const imports = importing(`data:text/javascript,${ending}`, stripTypes)
  const options = ['--disable-warning=ExperimentalWarning', ...young, ...imports]
  const child = spawn(node, [...options, file, ...args], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...env, PATH: path },
  })
  if (isOfNpm) await import(watch)
  // The console of Windows gives Ctrl-C to both processes, and to pass a signal on there is to kill.
  const passOn = (signal) => process.platform !== 'win32' && child.kill(signal)
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, passOn)
  child.on('exit', (code, signal) => {
    if (signal !== null) process.removeAllListeners(signal)
    if (signal === null) process.exit(code ?? 1)
    else process.kill(process.pid, signal)
  })
}

function importing(...urls) {
  return urls.flatMap((url) => ['--import', url])
}

function find(name) {
  if (!name.includes(`${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`))
    return undefined
  try {
    const manifest = fileURLToPath(import.meta.resolve(`node-${name}/package.json`))
    return `${dirname(manifest)}/bin/node${process.platform === 'win32' ? '.exe' : ''}`
  } catch {
    return undefined
  }
}
