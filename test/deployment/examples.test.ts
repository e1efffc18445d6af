import { cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Copy, copyModule, MODULE, missing } from '../../build/terraform.ts'
import { skipped } from '../tools.ts'
import { moduleText } from './terraform.ts'

const lacking = missing()
const DEPLOYMENTS = ['minimal', 'tenants', 'production']

let copy: Copy
let subscribers: Copy
beforeAll(async () => {
  if (lacking.length > 0) return
  const beside = ['pipeline', 'ecs', ...DEPLOYMENTS].map((name) => `examples/${name}`)
  copy = await copyModule('examples/plans', {}, [MODULE, ...beside])
  // Where each has its zips, as a release brings them.
  for (const name of DEPLOYMENTS) {
    cpSync(join(copy.folder, '../../dist'), join(copy.folder, '..', name, 'dist'), { recursive: true })
  }
  await copy.serveProvider()
  subscribers = await copyModule('examples/subscribers')
  subscribers.shareProvider(copy)
})
afterAll(() => {
  subscribers?.remove()
  copy?.remove()
})

describe.skipIf(lacking.length > 0)(`the Terraform roots of examples${skipped(lacking)}`, () => {
  it('are planned without an account: one deployment, one for each tenant, production, the worker on ECS, and the roles of a pipeline', async () => {
    const { status, stdout, stderr } = await copy.terraform(['test'])
    expect(stdout.match(/run "\w+"\.\.\. pass/g), stdout + stderr).toHaveLength(7)
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  })

  it('the rights of the pipeline are looked at for each kind of resource that the module has', () => {
    const kinds = [...moduleText().matchAll(/^resource "(aws_\w+)"/gm)].map(([, kind]) => kind)
    const tests = readFileSync(join(copy.folder, 'tests/examples.tftest.hcl'), 'utf8')
    const looked = [...tests.matchAll(/^ +(aws_\w+) += \["/gm)].map(([, kind]) => kind)
    expect(looked.sort()).toEqual([...new Set(kinds)].sort())
  })
})

describe.skipIf(lacking.length > 0)(
  `the Terraform configuration of examples/subscribers${skipped(lacking)}`,
  () => {
    it('is formatted', async () => {
      const { stdout } = await subscribers.terraform(['fmt', '-check', '-recursive', '-list=true'])
      expect(stdout).toBe('')
    })

    it('is valid, and passes its own tests', async () => {
      const { status, stdout, stderr } = await subscribers.terraform(['test'])
      expect(stdout.match(/run "\w+"\.\.\. pass/g)?.length, stdout + stderr).toBe(6)
      expect(stdout).not.toContain('Warning')
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    })
  },
)
