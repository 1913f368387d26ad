################################################################################
#
# vdo
#
################################################################################

VDO_VERSION = 8.3.1.1
VDO_SITE = https://github.com/dm-vdo/vdo
VDO_SITE_METHOD = git
VDO_LICENSE = GPL-2.0+
VDO_LICENSE_FILES = COPYING
VDO_DEPENDENCIES = util-linux zlib

# Its makefiles keep what they need in CFLAGS and LDFLAGS and leave these two to
# distributions. Warnings are errors there, which a newer compiler turns against
# us, so none is asked for.
VDO_MAKE_OPTS = \
	AR="$(TARGET_AR)" \
	CC="$(TARGET_CC)" \
	C_WARNS= \
	RPM_LD_FLAGS="$(TARGET_LDFLAGS)" \
	RPM_OPT_FLAGS="$(TARGET_CFLAGS) -fpic" \
	WARNS=

VDO_PROGRAMS = vdoforcerebuild vdoformat vdostats

define VDO_BUILD_CMDS
	$(TARGET_MAKE_ENV) $(MAKE1) -C $(@D)/utils $(VDO_MAKE_OPTS)
endef

define VDO_INSTALL_TARGET_CMDS
	$(foreach program,$(VDO_PROGRAMS),
		$(INSTALL) -D -m 0755 $(@D)/utils/vdo/$(program) \
			$(TARGET_DIR)/usr/bin/$(program)
	)
endef

$(eval $(generic-package))
